"""Refunds that failed need a person: another one is made in their place, or they are dealt with otherwise."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from domain.refunds import RefundOrigin, RefundStatus
from services.payment.payments.model import Payment, Refund
from services.payment.refunds.errors import RefundExceedsPayment, RefundNotFound
from tests.support.payment_harness import PaymentHarness
from tests.support.payment_ledger import check_settled

PENDING, FAILS_LATER = "pm_card_pendingRefund", "pm_card_refundFail"


async def failed_refund(harness: PaymentHarness, amount: int | None = None) -> tuple[Payment, Refund]:
    """A refund of 6.00, or as is asked for, that Stripe took back."""
    payment = await harness.opened(FAILS_LATER)
    refund = await harness.refunded(payment, amount or 600)
    harness.move_refund(refund.stripe_refund_id, "failed", failure_reason="lost_or_stolen_card")
    await harness.hear("refund.failed")
    harness.sagas.refunds.clear()
    return payment, (await harness.stored(payment)).get_refund(refund.id)


async def test_a_failed_refund_is_replaced_by_another_one_that_is_made_anew(harness: PaymentHarness) -> None:
    payment, failed = await failed_refund(harness)

    replaced = await harness.refund_service.replace_failed(failed.id)
    [another] = [refund for refund in replaced.refunds if refund.id != failed.id]
    await harness.follow_up()
    started = list(harness.sagas.refunds)
    again = await harness.refund_service.replace_failed(failed.id)
    given_back = await harness.run_sagas(payment)

    assert (another.amount, another.status, another.origin) == (600, RefundStatus.REQUESTED, RefundOrigin.ADMIN)
    assert (another.requested_by, another.generation, failed.id in another.note) == (failed.requested_by, 0, True)
    assert started == [(another.id, True)]
    assert len(again.refunds) == 2
    assert given_back.get_refund(failed.id).status is RefundStatus.REPLACED
    assert given_back.get_refund(another.id).status is RefundStatus.SUCCEEDED
    assert not any(refund.saga_open for refund in given_back.refunds)
    assert given_back.amount_refunded == 600
    await check_settled(harness, payment)


async def test_concurrent_duplicates_replace_a_failed_refund_once(harness: PaymentHarness) -> None:
    _, failed = await failed_refund(harness)
    processes = [(await harness.another_process()).refunds for _ in range(6)]

    payments = await asyncio.gather(*(process.replace_failed(failed.id) for process in processes))

    assert {len(payment.refunds) for payment in payments} == {2}


async def test_a_failed_refund_whose_money_went_back_otherwise_cannot_be_replaced(harness: PaymentHarness) -> None:
    payment, failed = await failed_refund(harness, 2_000)
    await harness.request(payment, 600)

    with pytest.raises(RefundExceedsPayment, match=r"19\.99 EUR is left"):
        await harness.refund_service.replace_failed(failed.id)

    assert (await harness.stored(payment)).get_refund(failed.id).status is RefundStatus.FAILED


async def test_a_failed_refund_that_a_person_dealt_with_is_over(harness: PaymentHarness) -> None:
    payment, failed = await failed_refund(harness)

    resolved = (await harness.refund_service.resolve(failed.id)).get_refund(failed.id)
    after = await harness.run_sagas(payment)
    await harness.hear()

    assert (resolved.status, resolved.version) == (RefundStatus.RESOLVED, failed.version + 1)
    assert (await harness.stored(payment)).get_refund(failed.id) == after.get_refund(failed.id)
    assert not after.get_refund(failed.id).saga_open
    await check_settled(harness, payment)


async def test_only_what_failed_is_replaced_or_resolved(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    under_way = await harness.refunded(await harness.opened(PENDING), 100)
    requested = (await harness.request(payment, 100)).refund

    for refund in (requested, under_way):
        for act in (harness.refund_service.replace_failed, harness.refund_service.resolve):
            assert (await act(refund.id)).get_refund(refund.id) == refund
    for act in (
        harness.refund_service.replace_failed,
        harness.refund_service.resolve,
        harness.refund_service.carry_out,
    ):
        with pytest.raises(RefundNotFound):
            await act(new_id())
    with pytest.raises(RefundNotFound):
        await harness.refund_service.close(new_id(), version=1)


async def test_a_refund_is_closed_at_the_version_that_its_saga_saw_and_no_other(harness: PaymentHarness) -> None:
    payment = await harness.opened(FAILS_LATER)
    requested = (await harness.request(payment, 600)).refund
    carried_out = (await harness.refund_service.carry_out(requested.id)).get_refund(requested.id)

    too_early = await harness.refund_service.close(requested.id, version=requested.version)
    closed = [await harness.refund_service.close(requested.id, version=carried_out.version) for _ in range(2)]
    harness.move_refund(carried_out.stripe_refund_id, "failed")
    await harness.hear("refund.failed")
    too_late = await harness.refund_service.close(requested.id, version=carried_out.version)

    assert (too_early, closed, too_late) == (False, [True, True], False)
    assert (await harness.stored(payment)).get_refund(requested.id).saga_open
