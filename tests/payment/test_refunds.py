"""Refunds that an admin asks for or somebody makes in Stripe's dashboard: no more than came in, each made once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.ids import new_id
from domain.orders import OrderLine
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from runtime.idempotency import IdempotencyKeyReused
from runtime.refusal import InvalidArgument
from services.payment.payments import decisions
from services.payment.payments.errors import PaymentNotFound
from services.payment.payments.model import Payment, Refund
from services.payment.refunds.errors import PaymentNotRefundable, RefundExceedsPayment, RefundNotFound
from services.payment.refunds.model import RequestedRefund
from services.payment.stripe.errors import StripeUnavailable
from tests.support.payment_harness import PaymentHarness, new_payment, new_refund
from tests.support.payment_ledger import read_ledger

VISA, PENDING, FAILS_LATER = "pm_card_visa", "pm_card_pendingRefund", "pm_card_refundFail"
CREATE = "refunds.create"


async def status_of(harness: PaymentHarness, payment: Payment, refund: Refund) -> RefundStatus:
    return (await harness.stored(payment)).get_refund(refund.id).status


async def kinds(harness: PaymentHarness, payment: Payment) -> list[str]:
    """The types of the payment's events, and that no number is missing."""
    published = await harness.published(payment.order_id)
    assert [seq for _, seq, _ in published] == list(range(1, len(published) + 1))
    return [kind for kind, _, _ in published]


async def check_settled(harness: PaymentHarness, payment: Payment) -> None:
    (await read_ledger(harness, payment.order_id)).check_settled()


async def test_all_that_was_paid_is_given_back_when_no_amount_is_named(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    lines = (OrderLine(new_id(), 2),)

    requested = await harness.request(payment, restock=lines)
    given_back = await harness.give_back(payment)

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


async def test_what_is_asked_for_is_reserved_and_its_saga_is_started_at_once(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)

    requested = await harness.request(payment, 1_000)

    stored = await harness.stored(payment)
    assert (stored.amount_refundable, stored.amount_refunded) == (1_599, 0)
    assert await harness.refunds(payment) == []
    assert await harness.follow_up() == 1
    assert harness.sagas.refunds == [(requested.refund.id, True)]
    assert await harness.unnotified() == []


@pytest.mark.parametrize("amount", [2_600, 10**9])
async def test_more_than_came_in_is_refused_and_what_is_left_is_named(harness: PaymentHarness, amount: int) -> None:
    payment = await harness.opened(VISA)

    with pytest.raises(RefundExceedsPayment, match=r"25\.99 EUR is left"):
        await harness.request(payment, amount)

    assert (await harness.stored(payment)).refunds == ()


async def test_more_than_is_left_is_refused_whether_the_rest_went_back_or_is_about_to(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    await harness.refunded(payment, 1_000)
    await harness.request(payment, 1_500)

    for amount in (100, 1_599, 2_599):
        with pytest.raises(RefundExceedsPayment, match=r"0\.99 EUR is left"):
            await harness.request(payment, amount)
    await harness.request(payment)
    with pytest.raises(RefundExceedsPayment, match=r"all that is left cannot be refunded: 0\.00 EUR"):
        await harness.request(payment)


async def test_a_refund_that_failed_leaves_its_money_to_others(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment)
    harness.move_refund(refund.stripe_refund_id, "failed")
    await harness.hear("refund.failed")

    assert (await harness.refunded(payment, 2_599)).status is RefundStatus.PENDING


async def test_what_was_not_paid_or_goes_back_already_cannot_be_refunded(harness: PaymentHarness) -> None:
    unpaid, voided = await harness.opened(), await harness.opened(VISA)
    await harness.service.void(voided.order_id)

    with pytest.raises(PaymentNotRefundable, match="nothing was paid yet"):
        await harness.request(unpaid)
    for _ in range(2):
        with pytest.raises(PaymentNotRefundable, match="goes back already"):
            await harness.request(voided, 1)
        await harness.give_back(voided)
    with pytest.raises(PaymentNotFound):
        await harness.refund_service.request(new_refund(unpaid, order_id=new_id()), idempotency_key="k", wait=0)


async def test_an_amount_that_stripe_cannot_express_is_rejected(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA, amount=5_000, currency="KWD")

    with pytest.raises(InvalidArgument) as refused:
        await harness.request(payment, 1_234)

    assert "last digits" in refused.value.details["amount"]
    assert (await harness.refunded(payment, 1_230)).status is RefundStatus.SUCCEEDED


async def test_a_refund_is_of_the_currency_that_came_in(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.change_intent(payment, currency="jpy", amount=2_599)
    await harness.customer_pays(payment, VISA)
    await harness.service.check(payment.order_id, refresh=True)

    refund = await harness.refunded(payment, 500)

    assert (refund.amount, refund.currency) == (500, "JPY")
    assert [(made.amount, made.currency) for made in await harness.refunds(payment)] == [(500, "jpy")]


async def test_a_repeated_request_answers_with_the_refund_as_it_is_now(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)

    first = await harness.request(payment, 600, key="k1")
    await harness.give_back(payment)
    second = await harness.request(payment, 600, key="k1")

    assert (first.replayed, second.replayed) == (False, True)
    assert (first.accepted_only, second.accepted_only) == (True, True)
    assert (first.refund.id, second.refund.status) == (second.refund.id, RefundStatus.SUCCEEDED)
    assert len((await harness.stored(payment)).refunds) == 1


async def test_a_repeated_request_is_answered_though_nothing_is_left_by_now(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    first = await harness.request(payment, key="all")
    await harness.give_back(payment)
    await harness.dispute(await harness.opened(VISA))

    assert (await harness.request(payment, key="all")).refund.id == first.refund.id


@pytest.mark.parametrize(
    "changes",
    [{"amount": 601}, {"amount": None}, {"note": "another reason"}, {"restock": (OrderLine(new_id(), 1),)}],
)
async def test_a_key_that_stands_for_another_request_is_refused(
    harness: PaymentHarness, changes: dict[str, Any]
) -> None:
    payment = await harness.opened(VISA)
    key = new_id()
    await harness.request(payment, 600, key=key)

    other = new_refund(payment, **{"amount": 600, **changes})
    with pytest.raises(IdempotencyKeyReused):
        await harness.refund_service.request(other, idempotency_key=key, wait=0)

    assert len((await harness.stored(payment)).refunds) == 1


async def test_a_key_belongs_to_its_admin_and_to_its_order(harness: PaymentHarness) -> None:
    payment, another = await harness.opened(VISA), await harness.opened(VISA)

    first = await harness.request(payment, 600, key="k3")
    second = await harness.request(payment, 600, key="k3", requested_by=new_id())
    with pytest.raises(IdempotencyKeyReused):
        await harness.request(another, 600, key="k3")

    assert first.refund.id != second.refund.id


async def test_a_refused_request_leaves_its_key_free(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    with pytest.raises(PaymentNotRefundable):
        await harness.request(payment, 600, key="k4")
    await harness.customer_pays(payment, VISA)
    await harness.service.check(payment.order_id, refresh=True)

    requested = await harness.request(payment, 600, key="k4")

    assert (requested.refund.amount, requested.replayed) == (600, False)


async def test_concurrent_duplicates_make_one_refund(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    processes = [(await harness.another_process()).refunds for _ in range(3)]
    new = new_refund(payment, 600)

    duplicates = await asyncio.gather(
        *(process.request(new, idempotency_key="duplicates", wait=0) for process in processes for _ in range(3))
    )

    assert len({duplicate.refund.id for duplicate in duplicates}) == 1
    assert sum(not duplicate.replayed for duplicate in duplicates) == 1
    assert len((await harness.stored(payment)).refunds) == 1


CROWDS = 50


async def test_a_crowd_of_requests_never_reserves_more_than_came_in(harness: PaymentHarness) -> None:
    processes = [(await harness.another_process()).refunds for _ in range(3)]
    for crowd in range(CROWDS):
        payment = await harness.opened(VISA)
        amounts = [(crowd * 7 + number * 131) % 900 + 1 for number in range(10)]

        answers = await asyncio.gather(
            *(
                processes[number % 3].request(new_refund(payment, amount), idempotency_key=new_id(), wait=0)
                for number, amount in enumerate(amounts)
            ),
            return_exceptions=True,
        )

        stored = await harness.stored(payment)
        taken = [answer.refund.amount for answer in answers if isinstance(answer, RequestedRefund)]
        refused = [
            amount for amount, answer in zip(amounts, answers, strict=True) if not isinstance(answer, RequestedRefund)
        ]
        assert all(isinstance(answer, RequestedRefund | RefundExceedsPayment) for answer in answers)
        assert sorted(refund.amount for refund in stored.refunds) == sorted(taken)
        assert sum(taken) <= 2_599
        assert all(amount > 2_599 - sum(taken) for amount in refused)


async def test_a_crowd_that_asks_for_all_gets_it_once(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    processes = [(await harness.another_process()).refunds for _ in range(3)]

    answers = await asyncio.gather(
        *(processes[number % 3].request(new_refund(payment), idempotency_key=new_id(), wait=0) for number in range(12)),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, RequestedRefund) for answer in answers) == 1
    assert (await harness.give_back(payment)).amount_refunded == 2_599
    assert len(await harness.refunds(payment)) == 1


async def test_carried_out_by_several_processes_at_once_it_is_made_once(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    processes = [(await harness.another_process()).refunds for _ in range(5)]
    harness.break_api(CREATE, delay_ms=(5, 40))

    await asyncio.gather(*(process.carry_out(refund.id) for process in processes), return_exceptions=True)
    harness.fix_api()
    await harness.give_back(payment)

    assert len(await harness.refunds(payment)) == 1
    assert (await kinds(harness, payment)).count("payment.refunded") == 1


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
        given_back = await harness.give_back(payment)

        assert given_back.amount_refunded == 2_599
        await check_settled(harness, payment)


@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_a_broken_create_is_made_good_once(harness: PaymentHarness, fault: str) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(CREATE, **{fault: 1.0})
    for _ in range(2):
        with pytest.raises(StripeUnavailable):
            await harness.give_back(payment)
        if fault not in ("error_429", "error_500_before"):
            break
    assert await status_of(harness, payment, refund) is RefundStatus.REQUESTED
    harness.fix_api()

    assert (await harness.give_back(payment)).get_refund(refund.id).status is RefundStatus.SUCCEEDED
    assert len(await harness.refunds(payment)) == 1
    await check_settled(harness, payment)


async def test_a_refund_that_timed_out_and_was_made_is_found_after_its_key_is_gone(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(CREATE, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.give_back(payment)
    harness.fix_api()
    harness.forget_keys()

    assert (await harness.give_back(payment)).get_refund(refund.id).status is RefundStatus.SUCCEEDED
    assert len(await harness.refunds(payment)) == 1


async def test_a_stored_500_that_made_nothing_is_followed_by_the_next_key(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    harness.break_api(CREATE, error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.give_back(payment)
    [made] = await harness.refunds(payment)
    harness.forget_refund(made.id, str(made.charge))
    harness.fix_api()

    with pytest.raises(StripeUnavailable, match="stored failure"):
        await harness.give_back(payment)
    generation = (await harness.stored(payment)).get_refund(refund.id).generation
    await harness.give_back(payment)

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
    assert (await kinds(harness, payment))[-1] == "payment.refund_failed"
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
    assert (await kinds(harness, payment)).count("payment.refunded") == 1


@pytest.mark.parametrize("status", ["failed", "canceled"])
async def test_a_pending_refund_may_fail_or_be_canceled(harness: PaymentHarness, status: str) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)

    harness.move_refund(refund.stripe_refund_id, status)
    await harness.hear("refund.updated")

    ended = (await harness.stored(payment)).get_refund(refund.id)
    assert (ended.status, ended.saga_open) == (RefundStatus(status.upper()), True)
    assert (await harness.stored(payment)).amount_refundable == 2_599
    assert (await kinds(harness, payment))[-1] == "payment.refund_failed"
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
    assert (await kinds(harness, payment)).count("payment.refund_failed") == 1


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
    given_back = await harness.give_back(payment)

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

    assert await status_of(harness, payment, failed) is RefundStatus.FAILED


async def test_a_failed_refund_that_a_person_dealt_with_is_over(harness: PaymentHarness) -> None:
    payment, failed = await failed_refund(harness)

    resolved = (await harness.refund_service.resolve(failed.id)).get_refund(failed.id)
    after = await harness.give_back(payment)
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


async def test_a_request_waits_until_its_refund_is_done(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    async with harness.following_up():
        waiting = asyncio.create_task(harness.request(payment, 600, key="w1", wait=30))
        await harness.sagas.followed_up.wait()

    await harness.give_back(payment)
    requested = await asyncio.wait_for(waiting, 5)
    replayed = await harness.request(payment, 600, key="w1", wait=30)

    assert (requested.refund.status, requested.accepted_only) == (RefundStatus.SUCCEEDED, False)
    assert (replayed.refund, replayed.accepted_only, replayed.replayed) == (requested.refund, False, True)


async def test_a_request_waits_no_longer_than_until_its_refund_has_failed(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    [charge] = await harness.charges(payment)
    harness.refuse_refunds(charge)
    async with harness.following_up():
        waiting = asyncio.create_task(harness.request(payment, 600, wait=30))
        await harness.sagas.followed_up.wait()

    await (await harness.another_process()).refunds.carry_out(harness.sagas.refunds[0][0])
    requested = await asyncio.wait_for(waiting, 5)

    assert (requested.refund.status, requested.accepted_only) == (RefundStatus.FAILED, False)


async def test_a_request_whose_refund_takes_longer_is_accepted_and_a_repeat_says_so_too(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(PENDING)

    first = await harness.request(payment, 600, key="w2", wait=0.1)
    await harness.give_back(payment)
    second = await harness.request(payment, 600, key="w2", wait=0.1)

    assert (first.accepted_only, second.accepted_only, second.replayed) == (True, True, True)
    assert second.refund.status is RefundStatus.PENDING


async def test_a_refund_from_the_dashboard_is_adopted_when_its_webhook_comes(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    made = await harness.refund_in_dashboard(payment, 600)

    for _ in range(2):
        await harness.hear("refund.created", "refund.updated")

    [adopted] = (await harness.stored(payment)).refunds
    assert (adopted.origin, adopted.amount, adopted.status) == (RefundOrigin.STRIPE, 600, RefundStatus.SUCCEEDED)
    assert (adopted.stripe_refund_id, adopted.saga_open, adopted.requested_by) == (made.id, True, None)
    assert set(harness.sagas.refunds) == {(adopted.id, True)}
    assert (await kinds(harness, payment)).count("payment.refunded") == 1
    with pytest.raises(RefundExceedsPayment):
        await harness.request(payment, 2_000)
    await harness.give_back(payment)
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
    await harness.give_back(payment)

    by_origin = {refund.origin: refund for refund in (await harness.stored(payment)).refunds}
    assert by_origin[RefundOrigin.STRIPE].stripe_refund_id == theirs.id
    assert by_origin[RefundOrigin.ADMIN].id == ours.id
    assert (await harness.stored(payment)).amount_refunded == 1_200
    await check_settled(harness, payment)


async def test_a_dashboard_refund_that_leaves_too_little_makes_ours_fail(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    ours = (await harness.request(payment, 2_000)).refund
    await harness.refund_in_dashboard(payment, 1_000)

    after = await harness.give_back(payment)

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
    await harness.give_back(payment)

    harness.move_refund(made.id, "failed")
    await harness.hear("refund.failed")

    due = [refund for refund in (await harness.stored(payment)).refunds if refund.origin is RefundOrigin.VOID]
    assert [(refund.amount, refund.status) for refund in due] == [
        (1_599, RefundStatus.PENDING),
        (1_000, RefundStatus.REQUESTED),
    ]
    assert (due[1].id, True) in harness.sagas.refunds
    await harness.give_back(payment)
    assert sorted(refund.amount for refund in await harness.refunds(payment)) == [1_000, 1_000, 1_599]
    assert (await read_ledger(harness, payment.order_id)).kept == 0


async def test_a_dashboard_refund_after_the_void_leaves_the_rest_to_be_owed_anew(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    await harness.service.void(payment.order_id)
    await harness.refund_in_dashboard(payment, 1_000)

    after = await harness.give_back(payment)

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
    await harness.give_back(payment)
    assert len(await harness.refunds(payment)) == 1


async def test_of_late_money_all_that_came_in_is_owed_and_not_what_was_asked_for(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.change_intent(payment, currency="eur", amount=1_500)
    await harness.store.change(payment, decisions.void)
    await harness.customer_pays(payment, VISA)

    await harness.hear("payment_intent.succeeded")

    assert [refund.amount for refund in (await harness.stored(payment)).refunds] == [1_500]


async def test_while_temporal_is_away_a_request_is_accepted_and_its_saga_is_started_later(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    harness.sagas.is_away = True

    requested = await harness.request(payment, 600)
    in_vain = await harness.follow_up()
    unnotified = await harness.unnotified()
    [row] = await harness.rows("SELECT attempts, last_error FROM refunds WHERE id = %(id)s", id=requested.refund.id)
    harness.sagas.is_away = False
    too_soon = await harness.follow_up()
    await harness.make_follow_ups_due()
    due = await harness.follow_up()

    assert (unnotified, row) == ([requested.refund.id], {"attempts": 1, "last_error": "Temporal: UNAVAILABLE"})
    assert (in_vain, too_soon, due) == (1, 0, 1)
    assert harness.sagas.refunds == [(requested.refund.id, True)]
    assert await harness.unnotified() == []


async def test_a_version_whose_notification_was_lost_is_notified_later(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    assert await harness.unnotified() == []
    harness.move_refund(refund.stripe_refund_id, "succeeded")
    harness.sagas.is_away = True
    await harness.hear("refund.updated")
    harness.sagas.is_away = False
    harness.sagas.refunds.clear()

    await harness.make_follow_ups_due()
    await harness.follow_up()
    await harness.make_follow_ups_due()
    await harness.follow_up()

    assert harness.sagas.refunds == [(refund.id, True), (refund.id, False)]


async def test_of_a_workflow_that_knows_all_it_is_only_made_sure_that_it_runs(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    harness.sagas.refunds.clear()
    await harness.make_follow_ups_due()

    assert await harness.follow_up() == 1
    assert harness.sagas.refunds == [(refund.id, False)]


async def test_nothing_that_is_closed_is_followed_up(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    await harness.refunded(payment, 600)
    await harness.make_follow_ups_due()

    assert await harness.follow_up() == 0


@pytest.mark.parametrize(
    ("age", "expected"),
    [(timedelta(0), 10), (timedelta(seconds=90), 10), (timedelta(minutes=5), 30), (timedelta(days=9), 60)],
)
async def test_the_older_a_refund_the_later_it_is_looked_after_again(
    harness: PaymentHarness, age: timedelta, expected: int
) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    async with harness.database.autocommit() as connection:
        await connection.execute(
            "UPDATE refunds SET created_at = now() - %(age)s, next_attempt_at = now() WHERE id = %(id)s",
            age=age,
            id=refund.id,
        )

    await harness.follow_up()

    [row] = await harness.rows("SELECT next_attempt_at - now() AS later FROM refunds WHERE id = %(id)s", id=refund.id)
    assert expected - 5 < row["later"].total_seconds() < expected + 2


async def test_when_temporal_has_been_away_all_that_is_left_is_followed_up(harness: PaymentHarness) -> None:
    refunds = [(await harness.request(await harness.opened(PENDING), 600)).refund.id for _ in range(3)]
    harness.sagas.is_away = True
    await harness.follow_up()
    assert harness.sagas.refunds == []
    harness.sagas.is_away = False
    await harness.make_follow_ups_due()

    assert await harness.follow_up() == 3
    assert sorted(harness.sagas.refunds) == sorted((refund, True) for refund in refunds)


async def test_a_refund_that_temporal_refuses_for_good_is_postponed_and_the_rest_goes_on(
    harness: PaymentHarness,
) -> None:
    poisoned, *others = [(await harness.request(await harness.opened(PENDING), 600)).refund.id for _ in range(12)]
    harness.sagas.refused = {poisoned}

    for _ in range(2):
        await harness.follow_up()

    [row] = await harness.rows(
        "SELECT attempts, next_attempt_at > now() AS postponed, last_error FROM refunds WHERE id = %(id)s", id=poisoned
    )
    assert row == {"attempts": 1, "postponed": True, "last_error": "Temporal: INVALID_ARGUMENT"}
    assert sorted(harness.sagas.refunds) == sorted((refund, True) for refund in others)
    assert await harness.unnotified() == [poisoned]


async def test_a_new_payment_is_not_refunded_before_it_is_read(harness: PaymentHarness) -> None:
    new = new_payment(payment_method=VISA)
    harness.break_api("payment_intents.confirm", lose_response=1.0)
    await harness.service.open(new)
    harness.fix_api()
    payment = await harness.service.check(new.order_id, refresh=False)

    assert payment.status is PaymentStatus.SUCCEEDED
    assert (await harness.refunded(payment)).status is RefundStatus.SUCCEEDED
