"""Disputes: what Stripe says of each is stored and told once, and no money goes back while a bank decides about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.ids import new_id
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from services.payment.errors import DisputeNotFound, PaymentDisputed, RefundExceedsPayment
from services.payment.model import Payment
from services.payment.sagas import SignalUndelivered
from services.payment.stripe_port import StripeUnavailable
from tests.payment_books import read_books
from tests.payment_rig import Rig, payment_rig

VISA, PENDING = "pm_card_visa", "pm_card_pendingRefund"
DISPUTES = (
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
)


@pytest.fixture
async def rig(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path) as made:
        yield made


async def told(rig: Rig, payment: Payment) -> list[tuple[str, str]]:
    """The dispute's status and what it is about, of each event that told of it; and that no number is missing."""
    published = await rig.published(payment.order_id)
    assert [seq for _, seq, _ in published] == list(range(1, len(published) + 1))
    return [(data["disputeStatus"], data["disputeAmount"]) for kind, _, data in published if kind == "payment.disputed"]


async def moved(rig: Rig, dispute_id: str, status: str) -> None:
    """The dispute moves on, and its events come in."""
    await rig.move_dispute(dispute_id, status)
    await rig.hear(*DISPUTES)


async def disputed(rig: Rig, card: str = VISA, **wish: Any) -> tuple[Payment, str]:
    """A paid payment whose customer has gone to their bank, which we know."""
    payment = await rig.opened(card)
    dispute_id = await rig.dispute(payment, **wish)
    await rig.hear(*DISPUTES)
    return payment, dispute_id


async def check_settled(rig: Rig, payment: Payment) -> None:
    (await read_books(rig, payment.order_id)).check_settled()


async def test_a_chargeback_is_stored_with_what_it_took_and_its_case_is_opened(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig, reason="product_not_received")

    dispute = await rig.the_dispute(payment)
    stored = await rig.stored(payment)
    assert (dispute.id, dispute.status, dispute.reason) == (
        dispute_id,
        DisputeStatus.NEEDS_RESPONSE,
        "product_not_received",
    )
    assert (dispute.amount, dispute.withdrawn, dispute.currency, dispute.version) == (2_599, 2_599, "EUR", 1)
    assert dispute.respond_by is not None
    assert dispute.respond_by > dispute.created_at
    assert (stored.amount_refundable, stored.amount_received, dispute.saga_open) == (0, 2_599, True)
    assert set(rig.sagas.disputes) == {(dispute_id, True)}
    assert await told(rig, payment) == [("NEEDS_RESPONSE", "2599")]
    assert set((await rig.event_statuses()).values()) == {"APPLIED"}
    assert rig.sagas.taken == []
    await check_settled(rig, payment)


async def test_a_card_that_disputes_at_once_is_a_payment_with_a_dispute(rig: Rig) -> None:
    payment = await rig.opened("pm_card_createDispute")
    await rig.hear()

    assert (await rig.the_dispute(payment)).status is DisputeStatus.NEEDS_RESPONSE
    assert payment.order_id in rig.sagas.orders()


async def test_every_change_of_a_dispute_is_told_once(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig)

    for status in ("under_review", "won"):
        await moved(rig, dispute_id, status)
        await rig.hear(*DISPUTES)

    won = await rig.the_dispute(payment)
    assert (won.status, won.withdrawn, won.version) == (DisputeStatus.WON, 0, 3)
    assert await told(rig, payment) == [("NEEDS_RESPONSE", "2599"), ("UNDER_REVIEW", "2599"), ("WON", "2599")]
    assert set(rig.sagas.disputes) == {(dispute_id, True)}
    assert len(rig.sagas.disputes) >= 3
    assert (await rig.stored(payment)).amount_refundable == 2_599
    await check_settled(rig, payment)


async def test_what_a_lost_dispute_took_cannot_be_refunded_any_more(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig, amount=2_000)
    await moved(rig, dispute_id, "lost")

    lost, stored = await rig.the_dispute(payment), await rig.stored(payment)
    assert (lost.status, lost.withdrawn) == (DisputeStatus.LOST, 2_000)
    assert (stored.amount_refundable, stored.amount_refunded, stored.open_dispute) == (599, 0, None)
    with pytest.raises(RefundExceedsPayment, match=r"5\.99 EUR is left"):
        await rig.request(payment, 600)
    await check_settled(rig, payment)


async def test_an_inquiry_takes_no_money_and_allows_refunds_until_it_is_a_chargeback(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig, status="warning_needs_response")
    inquiry = await rig.the_dispute(payment)
    refund = await rig.refunded(payment, 600)

    await moved(rig, dispute_id, "needs_response")
    chargeback = await rig.the_dispute(payment)

    assert (inquiry.status, inquiry.withdrawn) == (DisputeStatus.WARNING_NEEDS_RESPONSE, 0)
    assert refund.status is RefundStatus.SUCCEEDED
    assert (chargeback.status, chargeback.withdrawn) == (DisputeStatus.NEEDS_RESPONSE, 2_599)
    with pytest.raises(PaymentDisputed):
        await rig.request(payment, 600)


@pytest.mark.parametrize(
    ("moved_money", "withdrawn"), [((-2_801,), 2_599), ((-2_801, 2_750), 0), ((-2_801, 2_890), 0), ((), 0)]
)
async def test_what_a_dispute_took_is_told_in_its_own_currency_whatever_the_account_settles_in(
    rig: Rig, moved_money: tuple[int, ...], withdrawn: int
) -> None:
    payment = await rig.opened(VISA)
    dispute_id = await rig.dispute(payment)
    rig.move_in_currency(dispute_id, "usd", *moved_money)

    await rig.hear(*DISPUTES)

    dispute = await rig.the_dispute(payment)
    assert (dispute.amount, dispute.currency, dispute.withdrawn) == (2_599, "EUR", withdrawn)
    assert (await rig.stored(payment)).amount_refundable == 2_599 - withdrawn


@pytest.mark.parametrize("ends", [("warning_closed",), ("warning_under_review", "warning_closed")])
async def test_an_inquiry_may_end_without_a_chargeback(rig: Rig, ends: tuple[str, ...]) -> None:
    payment, dispute_id = await disputed(rig, status="warning_needs_response")
    for status in ends:
        await moved(rig, dispute_id, status)
        assert (await rig.stored(payment)).open_dispute is None

    closed = await rig.the_dispute(payment)
    assert (closed.status, closed.status.is_open, closed.version) == (
        DisputeStatus.WARNING_CLOSED,
        False,
        len(ends) + 1,
    )
    assert (await rig.stored(payment)).amount_refundable == 2_599


@pytest.mark.parametrize("status", [None, "under_review"])
async def test_while_a_bank_decides_nothing_is_refunded(rig: Rig, status: str | None) -> None:
    payment = await rig.opened(VISA)
    waiting = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)
    await rig.hear(*DISPUTES)
    if status is not None:
        await moved(rig, dispute_id, status)

    with pytest.raises(PaymentDisputed, match=dispute_id):
        await rig.request(payment, 100)
    for _ in range(2):
        with pytest.raises(PaymentDisputed, match=dispute_id):
            await rig.refund_service.carry_out(waiting.id)

    assert (await rig.stored(payment)).get_refund(waiting.id) == waiting
    assert await rig.refunds(payment) == []


async def test_a_refund_that_waited_is_woken_and_made_once_the_dispute_is_won(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    waiting = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)
    await rig.hear(*DISPUTES)
    with pytest.raises(PaymentDisputed):
        await rig.refund_service.carry_out(waiting.id)
    rig.sagas.refunds.clear()

    await moved(rig, dispute_id, "won")

    assert (waiting.id, True) in rig.sagas.refunds
    assert (await rig.refunded(payment, 100)).status is RefundStatus.SUCCEEDED
    assert (await rig.stored(payment)).amount_refunded == 700
    await check_settled(rig, payment)


async def test_a_refund_that_waited_fails_once_the_dispute_took_the_money_for_good(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    waiting = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)
    await moved(rig, dispute_id, "lost")
    await rig.give_back(payment)

    failed = (await rig.stored(payment)).get_refund(waiting.id)
    assert (failed.status, failed.saga_open) == (RefundStatus.FAILED, True)
    assert "charged back" in (failed.failure_reason or "")
    with pytest.raises(RefundExceedsPayment):
        await rig.refund_service.replace_failed(failed.id)


async def test_a_dispute_of_which_stripe_tells_first_when_it_refuses_a_refund_is_learned(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    refund = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)

    for _ in range(2):
        with pytest.raises(PaymentDisputed, match=dispute_id):
            await rig.refund_service.carry_out(refund.id)

    assert (await rig.the_dispute(payment)).id == dispute_id
    assert (await rig.stored(payment)).get_refund(refund.id).status is RefundStatus.REQUESTED
    assert await told(rig, payment) == [("NEEDS_RESPONSE", "2599")]


async def test_a_refund_that_stripe_refused_for_a_dispute_is_made_once_that_is_won(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    refund = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)
    with pytest.raises(PaymentDisputed):
        await rig.refund_service.carry_out(refund.id)

    await moved(rig, dispute_id, "won")
    with pytest.raises(StripeUnavailable, match="stored"):  # the refusal of then, under the key of then
        await rig.give_back(payment)
    after = await rig.give_back(payment)

    assert after.get_refund(refund.id).status is RefundStatus.SUCCEEDED
    assert len(await rig.refunds(payment)) == 1
    await check_settled(rig, payment)


async def test_a_chargeback_fails_the_refund_that_is_under_way(rig: Rig) -> None:
    payment = await rig.opened(PENDING)
    refund = await rig.refunded(payment, 600)
    dispute_id = await rig.dispute(payment)
    await rig.hear()

    failed = (await rig.stored(payment)).get_refund(refund.id)
    assert (failed.status, failed.failure_reason) == (RefundStatus.FAILED, "charge_for_pending_refund_disputed")
    with pytest.raises(PaymentDisputed):
        await rig.refund_service.replace_failed(refund.id)
    await moved(rig, dispute_id, "won")
    replaced = await rig.refund_service.replace_failed(refund.id)
    assert [each.status for each in replaced.refunds] == [RefundStatus.REPLACED, RefundStatus.REQUESTED]


async def test_what_a_void_owes_waits_for_the_bank_and_goes_back_once_the_dispute_is_won(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig)
    await rig.service.void(payment.order_id)
    [owed] = (await rig.stored(payment)).refunds
    with pytest.raises(PaymentDisputed):
        await rig.refund_service.carry_out(owed.id)

    await moved(rig, dispute_id, "won")
    after = await rig.give_back(payment)

    assert (owed.origin, after.get_refund(owed.id).status) == (RefundOrigin.VOID, RefundStatus.SUCCEEDED)
    assert after.amount_refunded == 2_599
    await check_settled(rig, payment)


async def test_events_that_are_doubled_and_come_in_any_order_tell_each_change_once(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig)
    await rig.move_dispute(dispute_id, "under_review")
    await rig.move_dispute(dispute_id, "won")
    bodies = await rig.webhook_bodies(*DISPUTES)

    for order in list(permutations(range(len(bodies))))[::7][:6]:
        await rig.deliver([bodies[number] for number in order])
        await rig.due_again()
        await rig.inbox.work_off_due()

    # It was read when it was won already: what it was in between nobody saw.
    assert await told(rig, payment) == [("NEEDS_RESPONSE", "2599"), ("WON", "2599")]
    assert (await rig.the_dispute(payment)).version == 2


async def test_a_dispute_seen_by_several_processes_at_once_is_told_once(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    await rig.dispute(payment)
    processes = [rig.another_process().payments for _ in range(5)]

    await asyncio.gather(
        *(process.follow_up(payment.order_id, event_type="charge.dispute.created") for process in processes)
    )

    assert await told(rig, payment) == [("NEEDS_RESPONSE", "2599")]
    assert (await rig.the_dispute(payment)).version == 1


async def test_the_sweep_brings_a_dispute_whose_webhooks_were_lost(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    dispute_id = await rig.dispute(payment)

    for _ in range(2):
        await rig.sweep.sweep()
        await rig.inbox.work_off_due()

    assert set(rig.sagas.disputes) == {(dispute_id, True)}
    assert (await rig.the_dispute(payment)).id == dispute_id


def strange(kind: str, intent_id: str | None) -> bytes:
    """An event of a dispute or refund that tells nothing of ours but, perhaps, its intent."""
    subject: dict[str, Any] = {
        "id": "du_1",
        "object": "dispute",
        "payment_intent": intent_id,
        "metadata": {},
        "status": "won",
    }
    values = {
        "id": f"evt_{new_id().replace('-', '')}",
        "object": "event",
        "type": kind,
        "created": 1_790_000_000,
        "livemode": False,
        "data": {"object": subject},
    }
    return msgspec.json.encode(values)


@pytest.mark.parametrize("kind", ["charge.dispute.closed", "refund.updated"])
async def test_of_events_without_our_metadata_those_of_our_intents_are_taken(rig: Rig, kind: str) -> None:
    payment, another = await rig.opened(VISA), await rig.opened()

    await rig.deliver([strange(kind, intent) for intent in (payment.intent_id, "pi_of_another_shop", None)])
    await rig.deliver([strange(kind, another.intent_id)])
    rows = await rig.rows("SELECT intent_id, order_id FROM provider_events WHERE type = %(kind)s", kind=kind)
    await rig.inbox.work_off_due()

    assert len(rows) == 2
    assert {row["intent_id"] for row in rows} == {payment.intent_id, another.intent_id}
    assert {row["order_id"] for row in rows} == {None}
    assert rig.intake.dropped == {"metadata": 2}
    assert set((await rig.event_statuses()).values()) == {"APPLIED"}


async def test_an_event_of_the_wrong_mode_is_dropped_though_its_intent_is_ours(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    live = msgspec.json.decode(strange("charge.dispute.created", payment.intent_id)) | {"livemode": True}

    await rig.deliver([msgspec.json.encode(live)])

    assert (await rig.event_statuses(), rig.intake.dropped) == ({}, {"livemode": 1})


async def test_a_case_reads_its_dispute_and_closes_it_at_the_version_that_it_saw(rig: Rig) -> None:
    payment, dispute_id = await disputed(rig)
    open_one = (await rig.parts.disputes.check(dispute_id)).get_dispute(dispute_id)
    await rig.move_dispute(dispute_id, "lost")

    lost = (await rig.parts.disputes.check(dispute_id)).get_dispute(dispute_id)
    too_early = await rig.parts.disputes.close(dispute_id, version=open_one.version)
    closed = [await rig.parts.disputes.close(dispute_id, version=lost.version) for _ in range(2)]
    await rig.hear(*DISPUTES)

    assert (open_one.status, lost.status) == (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.LOST)
    assert (too_early, closed) == (False, [True, True])
    assert not (await rig.the_dispute(payment)).saga_open
    with pytest.raises(DisputeNotFound):
        await rig.parts.disputes.check("du_nobody")
    with pytest.raises(DisputeNotFound):
        await rig.parts.disputes.close("du_nobody", version=1)


async def test_a_case_that_finds_its_dispute_decided_wakes_the_refunds_that_waited(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    waiting = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)
    await rig.hear(*DISPUTES)
    await rig.move_dispute(dispute_id, "won")
    rig.sagas.refunds.clear()

    await rig.parts.disputes.check(dispute_id)

    assert rig.sagas.refunds == [(waiting.id, True)]


async def test_a_case_whose_wake_up_was_lost_wakes_the_refunds_when_it_is_repeated(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    waiting = (await rig.request(payment, 600)).refund
    dispute_id = await rig.dispute(payment)
    await rig.hear(*DISPUTES)
    await rig.move_dispute(dispute_id, "won")
    rig.sagas.refunds.clear()
    rig.sagas.down = True
    with pytest.raises(SignalUndelivered):
        await rig.parts.disputes.check(dispute_id)
    rig.sagas.down = False

    await rig.parts.disputes.check(dispute_id)

    assert (waiting.id, True) in rig.sagas.refunds


async def test_while_stripe_or_temporal_is_away_an_event_of_a_dispute_waits(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    waiting = (await rig.request(payment, 600)).refund
    rig.sagas.refunds.clear()
    dispute_id = await rig.dispute(payment)
    await rig.break_api("disputes.list", error_500_before=1.0)
    await rig.hear(*DISPUTES)
    assert set((await rig.event_statuses()).values()) == {"RECEIVED"}
    with pytest.raises(StripeUnavailable):
        await rig.service.follow_up(payment.order_id, event_type="charge.dispute.created")
    await rig.mend_api()

    rig.sagas.down = True
    await rig.due_again()
    await rig.inbox.work_off_due()
    assert set((await rig.event_statuses()).values()) == {"RECEIVED"}
    rig.sagas.down = False
    await rig.due_again()
    await rig.inbox.work_off_due()

    assert set((await rig.event_statuses()).values()) == {"APPLIED"}
    assert (dispute_id, True) in rig.sagas.disputes
    assert (waiting.id, True) in rig.sagas.refunds
    assert await told(rig, payment) == [("NEEDS_RESPONSE", "2599")]


async def test_the_sweep_of_follow_ups_starts_a_case_that_nobody_started(rig: Rig) -> None:
    payment = await rig.opened(VISA)
    dispute_id = await rig.dispute(payment)
    rig.sagas.down = True
    await rig.hear(*DISPUTES)
    rig.sagas.down = False
    await rig.look_now()

    await rig.follow_ups.sweep()
    await rig.look_now()
    await rig.follow_ups.sweep()

    assert rig.sagas.disputes == [(dispute_id, True), (dispute_id, False)]
    assert await rig.unwoken() == []


async def test_a_second_dispute_stops_refunds_though_the_first_was_won(rig: Rig) -> None:
    payment, first = await disputed(rig, amount=1_000)
    await moved(rig, first, "won")
    [charge] = await rig.charges(payment)
    rig.forget_dispute(charge)
    second = await rig.dispute(payment, amount=1_500)
    await rig.hear(*DISPUTES)

    stored = await rig.stored(payment)
    assert {dispute.id: dispute.withdrawn for dispute in stored.disputes} == {first: 0, second: 1_500}
    with pytest.raises(PaymentDisputed, match=second):
        await rig.request(payment, 100)
