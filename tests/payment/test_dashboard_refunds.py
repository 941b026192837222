"""Refunds that are made in Stripe's dashboard, and those that are due because a payment was voided, beside them."""

from __future__ import annotations

import asyncio

import pytest

from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from services.payment.payments import decisions
from services.payment.refunds.errors import RefundExceedsPayment
from tests.support.payment_harness import PaymentHarness
from tests.support.payment_ledger import check_settled, published_types, read_ledger

VISA, PENDING = "pm_card_visa", "pm_card_pendingRefund"


async def test_a_refund_from_the_dashboard_is_adopted_when_its_webhook_comes(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    made = await harness.refund_in_dashboard(payment, 600)

    for _ in range(2):
        await harness.hear("refund.created", "refund.updated")

    [adopted] = (await harness.stored(payment)).refunds
    assert (adopted.origin, adopted.amount, adopted.status) == (RefundOrigin.STRIPE, 600, RefundStatus.SUCCEEDED)
    assert (adopted.stripe_refund_id, adopted.saga_open, adopted.requested_by) == (made.id, True, None)
    assert set(harness.sagas.refunds) == {(adopted.id, True)}
    assert (await published_types(harness, payment)).count("payment.refunded") == 1
    with pytest.raises(RefundExceedsPayment):
        await harness.request(payment, 2_000)
    await harness.run_sagas(payment)
    await check_settled(harness, payment)


async def test_a_refund_from_the_dashboard_is_adopted_by_the_sweep_when_its_webhook_is_lost(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    await harness.refund_in_dashboard(payment, 600)

    for _ in range(2):
        await harness.sweep()

    [adopted] = (await harness.stored(payment)).refunds
    assert (adopted.origin, set(harness.sagas.refunds)) == (RefundOrigin.STRIPE, {(adopted.id, True)})


async def test_a_dashboard_refund_that_fails_later_has_failed_here_too(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    made = await harness.refund_in_dashboard(payment, 600)
    await harness.hear("refund.created")
    harness.move_refund(made.id, "failed", failure_reason="declined")

    await harness.hear("refund.failed")

    [adopted] = (await harness.stored(payment)).refunds
    assert (adopted.status, adopted.failure_reason, adopted.saga_open) == (RefundStatus.FAILED, "declined", True)
    replaced = await harness.refund_service.replace_failed(adopted.id)
    assert {refund.origin for refund in replaced.refunds} == {RefundOrigin.STRIPE, RefundOrigin.ADMIN}


async def test_a_dashboard_refund_at_the_same_time_as_ours_is_told_apart_from_it(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    ours = (await harness.request(payment, 600)).refund

    theirs, _, _ = await asyncio.gather(
        harness.refund_in_dashboard(payment, 600), harness.refund_service.carry_out(ours.id), harness.hear()
    )
    await harness.hear()
    await harness.run_sagas(payment)

    by_origin = {refund.origin: refund for refund in (await harness.stored(payment)).refunds}
    assert by_origin[RefundOrigin.STRIPE].stripe_refund_id == theirs.id
    assert by_origin[RefundOrigin.ADMIN].id == ours.id
    assert (await harness.stored(payment)).amount_refunded == 1_200
    await check_settled(harness, payment)


async def test_a_dashboard_refund_that_leaves_too_little_makes_ours_fail(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    ours = (await harness.request(payment, 2_000)).refund
    await harness.refund_in_dashboard(payment, 1_000)

    after = await harness.run_sagas(payment)

    assert after.get_refund(ours.id).status is RefundStatus.FAILED
    assert "greater than unrefunded amount" in (after.get_refund(ours.id).failure_reason or "")
    assert (after.amount_refunded, after.amount_refundable) == (1_000, 1_599)
    assert len(await harness.refunds(payment)) == 1


async def test_of_a_voided_payment_only_what_the_dashboard_left_is_owed_and_the_rest_if_that_fails(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(PENDING)
    made = await harness.refund_in_dashboard(payment, 1_000)
    await harness.hear("refund.created")
    await harness.service.void(payment.order_id)
    due = [refund for refund in (await harness.stored(payment)).refunds if refund.origin is RefundOrigin.VOID]
    assert [refund.amount for refund in due] == [1_599]
    await harness.run_sagas(payment)

    harness.move_refund(made.id, "failed")
    await harness.hear("refund.failed")

    due = [refund for refund in (await harness.stored(payment)).refunds if refund.origin is RefundOrigin.VOID]
    assert [(refund.amount, refund.status) for refund in due] == [
        (1_599, RefundStatus.PENDING),
        (1_000, RefundStatus.REQUESTED),
    ]
    assert (due[1].id, True) in harness.sagas.refunds
    await harness.run_sagas(payment)
    assert sorted(refund.amount for refund in await harness.refunds(payment)) == [1_000, 1_000, 1_599]
    assert (await read_ledger(harness, payment.order_id)).kept == 0


async def test_a_dashboard_refund_after_the_void_leaves_the_rest_to_be_owed_anew(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    await harness.service.void(payment.order_id)
    await harness.refund_in_dashboard(payment, 1_000)

    after = await harness.run_sagas(payment)

    live = {refund.origin: refund.amount for refund in after.refunds if refund.status is RefundStatus.SUCCEEDED}
    assert live == {RefundOrigin.STRIPE: 1_000, RefundOrigin.VOID: 1_599}
    assert [refund.status for refund in after.refunds if refund.amount == 2_599] == [RefundStatus.REPLACED]
    assert after.amount_refunded == 2_599
    assert not any(refund.saga_open for refund in after.refunds if refund.origin is RefundOrigin.VOID)
    assert await harness.unnotified() == []
    await check_settled(harness, payment)


async def test_money_that_was_seen_after_the_void_is_owed_once_however_it_is_seen(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    voided = await harness.store.change(payment, decisions.void)
    assert voided.refunds == ()
    await harness.customer_pays(payment, VISA)

    await asyncio.gather(
        harness.hear("payment_intent.succeeded"),
        (await harness.another_process()).payments.void(payment.order_id),
        (await harness.another_process()).payments.check(payment.order_id, refresh=True),
    )

    seen = await harness.stored(payment)
    [due] = seen.refunds
    assert (seen.status, due.origin, due.amount) == (PaymentStatus.SUCCEEDED, RefundOrigin.VOID, 2_599)
    assert (due.id, True) in harness.sagas.refunds
    await harness.run_sagas(payment)
    assert len(await harness.refunds(payment)) == 1


async def test_of_late_money_all_that_came_in_is_owed_and_not_what_was_asked_for(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.change_intent(payment, currency="eur", amount=1_500)
    await harness.store.change(payment, decisions.void)
    await harness.customer_pays(payment, VISA)

    await harness.hear("payment_intent.succeeded")

    assert [refund.amount for refund in (await harness.stored(payment)).refunds] == [1_500]
