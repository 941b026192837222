"""Requests for refunds: no more than came in, once per admin and key, and answered alike however often."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refunds import RefundStatus
from runtime.idempotency import IdempotencyKeyReused
from runtime.refusal import InvalidArgument
from services.payment.payments.errors import PaymentNotFound
from services.payment.refunds.errors import PaymentNotRefundable, RefundExceedsPayment, RefundNeedsAdmin
from services.payment.refunds.model import RequestedRefund
from tests.support.payment_harness import PaymentHarness, new_refund

VISA, PENDING = "pm_card_visa", "pm_card_pendingRefund"


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
        await harness.run_sagas(voided)
    with pytest.raises(PaymentNotFound):
        await harness.refund_service.request(new_refund(unpaid, order_id=new_id()), idempotency_key="k", wait=0)


async def test_an_amount_that_stripe_cannot_express_is_rejected(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA, amount=5_000, currency="KWD")

    with pytest.raises(InvalidArgument) as refused:
        await harness.request(payment, 1_234)

    assert "last digits" in refused.value.details["amount"]
    assert (await harness.refunded(payment, 1_230)).status is RefundStatus.SUCCEEDED


async def test_a_repeated_request_answers_with_the_refund_as_it_is_now(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)

    first = await harness.request(payment, 600, key="k1")
    await harness.run_sagas(payment)
    second = await harness.request(payment, 600, key="k1")

    assert (first.replayed, second.replayed) == (False, True)
    assert (first.accepted_only, second.accepted_only) == (True, True)
    assert (first.refund.id, second.refund.status) == (second.refund.id, RefundStatus.SUCCEEDED)
    assert len((await harness.stored(payment)).refunds) == 1


async def test_a_repeated_request_is_answered_though_nothing_is_left_by_now(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    first = await harness.request(payment, key="all")
    await harness.run_sagas(payment)
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
    assert (await harness.run_sagas(payment)).amount_refunded == 2_599
    assert len(await harness.refunds(payment)) == 1


async def test_a_request_waits_until_its_refund_is_done(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    async with harness.following_up():
        waiting = asyncio.create_task(harness.request(payment, 600, key="w1", wait=30))
        await harness.sagas.followed_up.wait()

    await harness.run_sagas(payment)
    requested = await asyncio.wait_for(waiting, 5)
    replayed = await harness.request(payment, 600, key="w1", wait=30)

    assert (requested.refund.status, requested.accepted_only) == (RefundStatus.SUCCEEDED, False)
    assert (replayed.refund, replayed.accepted_only, replayed.replayed) == (requested.refund, False, True)


async def test_a_request_that_was_answered_with_its_outcome_is_answered_so_though_that_is_taken_back(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_refundFail")
    async with harness.following_up():
        waiting = asyncio.create_task(harness.request(payment, 600, key="w3", wait=30))
        await harness.sagas.followed_up.wait()
    await harness.run_sagas(payment)
    requested = await asyncio.wait_for(waiting, 5)

    harness.move_refund(requested.refund.stripe_refund_id, "failed")
    await harness.hear("refund.failed")
    await _end_wait(harness, "w3", at=requested.refund.settled_at)
    repeated = await harness.request(payment, 600, key="w3")

    assert (requested.refund.status, repeated.refund.status) == (RefundStatus.SUCCEEDED, RefundStatus.FAILED)
    assert (requested.accepted_only, repeated.accepted_only, repeated.replayed) == (False, False, True)


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
    await harness.run_sagas(payment)
    second = await harness.request(payment, 600, key="w2", wait=0.1)

    assert (first.accepted_only, second.accepted_only, second.replayed) == (True, True, True)
    assert second.refund.status is RefundStatus.PENDING


async def test_concurrent_duplicates_are_accepted_alike_when_the_outcome_takes_longer_than_the_first_waits(
    harness: PaymentHarness,
) -> None:
    payment, another = await harness.opened(VISA), await harness.another_process()
    new = new_refund(payment, 600)
    first = asyncio.create_task(harness.refund_service.request(new, idempotency_key="d1", wait=0.5))
    await _until_claimed(harness, "d1")
    duplicate = asyncio.create_task(another.refunds.request(new, idempotency_key="d1", wait=30))

    answers = [await first, await asyncio.wait_for(duplicate, 10)]
    await harness.run_sagas(payment)
    answers.append(await another.refunds.request(new, idempotency_key="d1", wait=30))

    assert len({answer.refund.id for answer in answers}) == 1
    assert [(answer.accepted_only, answer.replayed) for answer in answers] == [
        (True, False),
        (True, True),
        (True, True),
    ]
    assert answers[-1].refund.status is RefundStatus.SUCCEEDED


async def test_concurrent_duplicates_are_answered_with_the_outcome_alike_however_short_they_wait(
    harness: PaymentHarness,
) -> None:
    payment, another = await harness.opened(VISA), await harness.another_process()
    new = new_refund(payment, 600)
    first = asyncio.create_task(harness.refund_service.request(new, idempotency_key="d2", wait=30))
    await _until_claimed(harness, "d2")
    duplicate = asyncio.create_task(another.refunds.request(new, idempotency_key="d2", wait=0))

    await harness.run_sagas(payment)
    async with another.listener:  # it was not woken before, and finds out when it begins to listen
        answers = [await asyncio.wait_for(answer, 10) for answer in (first, duplicate)]
    answers.append(await another.refunds.request(new, idempotency_key="d2", wait=0))

    assert [(answer.accepted_only, answer.replayed) for answer in answers] == [
        (False, False),
        (False, True),
        (False, True),
    ]
    assert {answer.refund.status for answer in answers} == {RefundStatus.SUCCEEDED}


async def _until_claimed(harness: PaymentHarness, key: str) -> None:
    async with asyncio.timeout(10):
        while not await harness.rows("SELECT 1 AS one FROM idempotency_keys WHERE key = %(key)s", key=key):
            pass


async def _end_wait(harness: PaymentHarness, key: str, *, at: datetime | None) -> None:
    """As if the first request had waited until then."""
    await harness.rows(
        "UPDATE idempotency_keys SET answer_by = %(at)s WHERE key = %(key)s RETURNING key", key=key, at=at
    )


async def test_support_gives_back_up_to_a_limit_per_payment_in_however_many_parts(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)

    first = await harness.request(payment, 700, by_support=True, requested_by=new_id())
    for amount in (301, None):
        with pytest.raises(RefundNeedsAdmin, match=r"support may give back 3\.00 EUR more"):
            await harness.request(payment, amount, by_support=True, requested_by=new_id())
    await harness.request(payment, 300, by_support=True, requested_by=new_id())
    with pytest.raises(RefundNeedsAdmin, match=r"may give back 0\.00 EUR more"):
        await harness.request(payment, 1, by_support=True, requested_by=new_id())
    by_admin = await harness.request(payment)

    assert first.refund.actor == f"support:{first.refund.requested_by}"
    assert (by_admin.refund.amount, by_admin.refund.actor) == (1_599, f"admin:{by_admin.refund.requested_by}")
    assert [refund.amount for refund in (await harness.stored(payment)).refunds] == [700, 300, 1_599]
