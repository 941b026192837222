"""Refunds at Stripe: each made once, whatever breaks, and followed until it has succeeded, failed or gone back."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from domain.orders import OrderLine
from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from services.payment.stripe.errors import StripeUnavailable
from tests.support.payment_harness import PaymentHarness, new_payment, new_refund
from tests.support.payment_ledger import check_settled, published_types

VISA, PENDING, FAILS_LATER = "pm_card_visa", "pm_card_pendingRefund", "pm_card_refundFail"
CREATE = "refunds.create"


async def test_all_that_was_paid_is_given_back_when_no_amount_is_named(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    lines = (OrderLine(new_id(), 2),)

    requested = await harness.request(payment, restock=lines)
    given_back = await harness.run_sagas(payment)

    refund = given_back.get_refund(requested.refund.id)
    assert (requested.refund.amount, requested.refund.status) == (2_599, RefundStatus.REQUESTED)
    assert (refund.status, refund.saga_open, refund.restock) == (RefundStatus.SUCCEEDED, False, lines)
    assert (given_back.amount_refunded, given_back.amount_refundable) == (2_599, 0)
    [made] = await harness.refunds(payment)
    assert (made.amount, made.id) == (2_599, refund.stripe_refund_id)
    await check_settled(harness, payment)


async def test_several_parts_are_given_back_until_nothing_is_left(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)

    refunds = [await harness.refunded(payment, amount) for amount in (1_000, 600, None)]

    assert [refund.amount for refund in refunds] == [1_000, 600, 999]
    assert sorted(made.amount for made in await harness.refunds(payment)) == [600, 999, 1_000]
    published = [data for kind, _, data in await harness.published(payment.order_id) if kind == "payment.refunded"]
    assert [(data["refundAmount"], data["amountRefunded"], data["refundId"]) for data in published] == [
        ("1000", "1000", refunds[0].id),
        ("600", "1600", refunds[1].id),
        ("999", "2599", refunds[2].id),
    ]
    await check_settled(harness, payment)


async def test_a_refund_is_of_the_currency_that_came_in(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.change_intent(payment, currency="jpy", amount=2_599)
    await harness.customer_pays(payment, VISA)
    await harness.service.check(payment.order_id, refresh=True)

    refund = await harness.refunded(payment, 500)

    assert (refund.amount, refund.currency) == (500, "JPY")
    assert [(made.amount, made.currency) for made in await harness.refunds(payment)] == [(500, "jpy")]


async def test_carried_out_by_several_processes_at_once_it_is_made_once(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    processes = [(await harness.another_process()).refunds for _ in range(5)]
    harness.break_api(CREATE, delay_ms=(5, 40))

    await asyncio.gather(*(process.carry_out(refund.id) for process in processes), return_exceptions=True)
    harness.fix_api()
    await harness.run_sagas(payment)

    assert len(await harness.refunds(payment)) == 1
    assert (await published_types(harness, payment)).count("payment.refunded") == 1


async def test_requests_and_a_void_at_once_give_no_more_back_than_came_in(harness: PaymentHarness) -> None:
    for _ in range(5):
        payment = await harness.opened(VISA)
        processes = [await harness.another_process() for _ in range(2)]

        await asyncio.gather(
            *(
                process.refunds.request(new_refund(payment, 1_000), idempotency_key=new_id(), wait=0)
                for process in processes
            ),
            harness.service.void(payment.order_id),
            return_exceptions=True,
        )
        given_back = await harness.run_sagas(payment)

        assert given_back.amount_refunded == 2_599
        await check_settled(harness, payment)


@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_a_broken_create_is_made_good_once(harness: PaymentHarness, fault: str) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(CREATE, **{fault: 1.0})
    for _ in range(2):
        with pytest.raises(StripeUnavailable):
            await harness.run_sagas(payment)
        if fault not in ("error_429", "error_500_before"):
            break
    assert (await harness.stored(payment)).get_refund(refund.id).status is RefundStatus.REQUESTED
    harness.fix_api()

    assert (await harness.run_sagas(payment)).get_refund(refund.id).status is RefundStatus.SUCCEEDED
    assert len(await harness.refunds(payment)) == 1
    await check_settled(harness, payment)


async def test_a_refund_that_timed_out_and_was_made_is_found_after_its_key_is_gone(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(CREATE, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.run_sagas(payment)
    harness.fix_api()
    harness.forget_keys()

    assert (await harness.run_sagas(payment)).get_refund(refund.id).status is RefundStatus.SUCCEEDED
    assert len(await harness.refunds(payment)) == 1


async def test_a_stored_500_that_made_nothing_is_followed_by_the_next_key(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(CREATE, error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.run_sagas(payment)
    [made] = await harness.refunds(payment)
    harness.forget_refund(made.id, str(made.charge))
    harness.fix_api()

    with pytest.raises(StripeUnavailable, match="stored failure"):
        await harness.run_sagas(payment)
    generation = (await harness.stored(payment)).get_refund(refund.id).generation
    await harness.run_sagas(payment)

    after = (await harness.stored(payment)).get_refund(refund.id)
    assert (generation, after.generation, after.status) == (1, 1, RefundStatus.SUCCEEDED)
    assert len(await harness.refunds(payment)) == 1


@pytest.mark.parametrize("operation", ["refunds.list", CREATE])
async def test_a_stripe_that_is_away_leaves_the_refund_as_it_is(harness: PaymentHarness, operation: str) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(operation, error_500_before=1.0)

    with pytest.raises(StripeUnavailable):
        await harness.refund_service.carry_out(refund.id)
    harness.fix_api()

    after = (await harness.stored(payment)).get_refund(refund.id)
    assert after.model_copy(update={"notified_version": refund.notified_version}) == refund
    assert await harness.refunds(payment) == []


async def test_a_refund_that_stripe_refuses_has_failed_with_its_words(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    [charge] = await harness.charges(payment)
    harness.refuse_refunds(charge)

    refund = await harness.refunded(payment, 600)

    assert (refund.status, refund.saga_open, refund.stripe_refund_id) == (RefundStatus.FAILED, True, None)
    assert "successful charge" in (refund.failure_reason or "")
    assert (await harness.stored(payment)).amount_refundable == 2_599
    assert (await published_types(harness, payment))[-1] == "payment.refund_failed"
    assert (await harness.refunded(payment, 600)).id != refund.id


async def test_a_refund_may_be_pending_for_days_until_its_event_says_that_it_succeeded(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    harness.sagas.refunds.clear()
    harness.forget_keys()

    again = await harness.refunded(payment, 700)
    pending = (await harness.stored(payment)).get_refund(refund.id)
    harness.move_refund(refund.stripe_refund_id, "succeeded")
    await harness.hear("refund.updated")

    done = (await harness.stored(payment)).get_refund(refund.id)
    assert (pending.status, pending.saga_open, again.status) == (RefundStatus.PENDING, True, RefundStatus.PENDING)
    assert (done.status, done.version, done.saga_open) == (RefundStatus.SUCCEEDED, pending.version + 1, True)
    assert (refund.id, True) in harness.sagas.refunds
    assert (await harness.stored(payment)).amount_refunded == 600
    assert (await published_types(harness, payment)).count("payment.refunded") == 1


@pytest.mark.parametrize("status", ["failed", "canceled"])
async def test_a_pending_refund_may_fail_or_be_canceled(harness: PaymentHarness, status: str) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)

    harness.move_refund(refund.stripe_refund_id, status)
    await harness.hear("refund.updated")

    ended = (await harness.stored(payment)).get_refund(refund.id)
    assert (ended.status, ended.saga_open) == (RefundStatus(status.upper()), True)
    assert (await harness.stored(payment)).amount_refundable == 2_599
    assert (await published_types(harness, payment))[-1] == "payment.refund_failed"
    await check_settled(harness, payment)


async def test_a_refund_that_succeeded_may_be_taken_back_and_is_followed_up_again(harness: PaymentHarness) -> None:
    payment = await harness.opened(FAILS_LATER)
    refund = await harness.refunded(payment)
    harness.sagas.refunds.clear()
    assert (refund.status, refund.saga_open) == (RefundStatus.SUCCEEDED, False)

    harness.move_refund(refund.stripe_refund_id, "failed", failure_reason="expired_or_canceled_card")
    for _ in range(2):
        await harness.hear("refund.updated", "refund.failed")

    taken_back = await harness.stored(payment)
    failed = taken_back.get_refund(refund.id)
    assert (failed.status, failed.version, failed.saga_open) == (RefundStatus.FAILED, refund.version + 1, True)
    assert (failed.failure_reason, taken_back.amount_refunded) == ("expired_or_canceled_card", 0)
    assert set(harness.sagas.refunds) == {(refund.id, True)}
    kind, _, data = (await harness.published(payment.order_id))[-1]
    assert (kind, data["refundId"], data.get("amountRefunded", "0")) == ("payment.refund_failed", refund.id, "0")
    assert (await published_types(harness, payment)).count("payment.refund_failed") == 1


async def test_a_new_payment_is_not_refunded_before_it_is_read(harness: PaymentHarness) -> None:
    new = new_payment(payment_method=VISA)
    harness.break_api("payment_intents.confirm", lose_response=1.0)
    await harness.service.open(new)
    harness.fix_api()
    payment = await harness.service.check(new.order_id, refresh=False)

    assert payment.status is PaymentStatus.SUCCEEDED
    assert (await harness.refunded(payment)).status is RefundStatus.SUCCEEDED
