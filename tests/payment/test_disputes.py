"""Disputes: what Stripe says of each is stored and published once, and no money goes back while a bank decides."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any

import msgspec
import pytest

from domain.ids import new_id
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from services.payment.disputes.errors import DisputeNotFound
from services.payment.payments.model import Payment
from services.payment.refunds.errors import PaymentDisputed, RefundExceedsPayment
from services.payment.stripe.errors import StripeUnavailable
from tests.support.payment_harness import PaymentHarness
from tests.support.payment_ledger import check_settled

VISA, PENDING = "pm_card_visa", "pm_card_pendingRefund"
DISPUTES = (
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
)


async def published(harness: PaymentHarness, payment: Payment) -> list[tuple[str, str]]:
    """The dispute's status and what it is about, of each event about it; and that no number is missing."""
    published = await harness.published(payment.order_id)
    assert [seq for _, seq, _ in published] == list(range(1, len(published) + 1))
    return [(data["disputeStatus"], data["disputeAmount"]) for kind, _, data in published if kind == "payment.disputed"]


async def moved(harness: PaymentHarness, dispute_id: str, status: str) -> None:
    """The dispute moves on, and its events come in."""
    harness.move_dispute(dispute_id, status)
    await harness.hear(*DISPUTES)


async def disputed(harness: PaymentHarness, card: str = VISA, **values: Any) -> tuple[Payment, str]:
    """A paid payment whose customer has gone to their bank, which we know."""
    payment = await harness.opened(card)
    dispute_id = await harness.dispute(payment, **values)
    await harness.hear(*DISPUTES)
    return payment, dispute_id


async def test_a_chargeback_is_stored_with_what_it_took_and_its_case_is_opened(harness: PaymentHarness) -> None:
    payment, dispute_id = await disputed(harness, reason="product_not_received")

    dispute = await harness.the_dispute(payment)
    stored = await harness.stored(payment)
    assert (dispute.id, dispute.status, dispute.reason) == (
        dispute_id,
        DisputeStatus.NEEDS_RESPONSE,
        "product_not_received",
    )
    assert (dispute.amount, dispute.withdrawn, dispute.currency, dispute.version) == (2_599, 2_599, "EUR", 1)
    assert dispute.respond_by is not None
    assert dispute.respond_by > dispute.created_at
    assert (stored.amount_refundable, stored.amount_received, dispute.saga_open) == (0, 2_599, True)
    assert set(harness.sagas.disputes) == {(dispute_id, True)}
    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599")]
    assert set((await harness.event_statuses()).values()) == {"APPLIED"}
    assert harness.sagas.orders == []
    await check_settled(harness, payment)


async def test_a_card_that_disputes_at_once_is_a_payment_with_a_dispute(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_createDispute")
    await harness.hear()

    assert (await harness.the_dispute(payment)).status is DisputeStatus.NEEDS_RESPONSE
    assert payment.order_id in harness.sagas.notified_orders


async def test_every_change_of_a_dispute_is_published_once(harness: PaymentHarness) -> None:
    payment, dispute_id = await disputed(harness)

    for status in ("under_review", "won"):
        await moved(harness, dispute_id, status)
        await harness.hear(*DISPUTES)

    won = await harness.the_dispute(payment)
    assert (won.status, won.withdrawn, won.version) == (DisputeStatus.WON, 0, 3)
    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599"), ("UNDER_REVIEW", "2599"), ("WON", "2599")]
    assert set(harness.sagas.disputes) == {(dispute_id, True)}
    assert len(harness.sagas.disputes) >= 3
    assert (await harness.stored(payment)).amount_refundable == 2_599
    await check_settled(harness, payment)


async def test_what_a_lost_dispute_took_cannot_be_refunded_any_more(harness: PaymentHarness) -> None:
    payment, dispute_id = await disputed(harness, amount=2_000)
    await moved(harness, dispute_id, "lost")

    lost, stored = await harness.the_dispute(payment), await harness.stored(payment)
    assert (lost.status, lost.withdrawn) == (DisputeStatus.LOST, 2_000)
    assert (stored.amount_refundable, stored.amount_refunded, stored.open_dispute) == (599, 0, None)
    with pytest.raises(RefundExceedsPayment, match=r"5\.99 EUR is left"):
        await harness.request(payment, 600)
    await check_settled(harness, payment)


async def test_an_inquiry_takes_no_money_and_allows_refunds_until_it_is_a_chargeback(harness: PaymentHarness) -> None:
    payment, dispute_id = await disputed(harness, status="warning_needs_response")
    inquiry = await harness.the_dispute(payment)
    refund = await harness.refunded(payment, 600)

    await moved(harness, dispute_id, "needs_response")
    chargeback = await harness.the_dispute(payment)

    assert (inquiry.status, inquiry.withdrawn) == (DisputeStatus.WARNING_NEEDS_RESPONSE, 0)
    assert refund.status is RefundStatus.SUCCEEDED
    assert (chargeback.status, chargeback.withdrawn) == (DisputeStatus.NEEDS_RESPONSE, 2_599)
    with pytest.raises(PaymentDisputed):
        await harness.request(payment, 600)


@pytest.mark.parametrize(
    ("moved_money", "withdrawn"), [((-2_801,), 2_599), ((-2_801, 2_750), 0), ((-2_801, 2_890), 0), ((), 0)]
)
async def test_what_a_dispute_took_is_stored_in_its_own_currency_whatever_the_account_settles_in(
    harness: PaymentHarness, moved_money: tuple[int, ...], withdrawn: int
) -> None:
    payment = await harness.opened(VISA)
    dispute_id = await harness.dispute(payment)
    harness.move_in_currency(dispute_id, "usd", *moved_money)

    await harness.hear(*DISPUTES)

    dispute = await harness.the_dispute(payment)
    assert (dispute.amount, dispute.currency, dispute.withdrawn) == (2_599, "EUR", withdrawn)
    assert (await harness.stored(payment)).amount_refundable == 2_599 - withdrawn


@pytest.mark.parametrize("ends", [("warning_closed",), ("warning_under_review", "warning_closed")])
async def test_an_inquiry_may_end_without_a_chargeback(harness: PaymentHarness, ends: tuple[str, ...]) -> None:
    payment, dispute_id = await disputed(harness, status="warning_needs_response")
    for status in ends:
        await moved(harness, dispute_id, status)
        assert (await harness.stored(payment)).open_dispute is None

    closed = await harness.the_dispute(payment)
    assert (closed.status, closed.status.is_open, closed.version) == (
        DisputeStatus.WARNING_CLOSED,
        False,
        len(ends) + 1,
    )
    assert (await harness.stored(payment)).amount_refundable == 2_599


@pytest.mark.parametrize("status", [None, "under_review"])
async def test_while_a_bank_decides_nothing_is_refunded(harness: PaymentHarness, status: str | None) -> None:
    payment = await harness.opened(VISA)
    waiting = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    await harness.hear(*DISPUTES)
    if status is not None:
        await moved(harness, dispute_id, status)

    with pytest.raises(PaymentDisputed, match=dispute_id):
        await harness.request(payment, 100)
    for _ in range(2):
        with pytest.raises(PaymentDisputed, match=dispute_id):
            await harness.refund_service.carry_out(waiting.id)

    assert (await harness.stored(payment)).get_refund(waiting.id) == waiting.notified()
    assert await harness.refunds(payment) == []


async def test_a_refund_that_waited_is_notified_and_made_once_the_dispute_is_won(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    waiting = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    await harness.hear(*DISPUTES)
    with pytest.raises(PaymentDisputed):
        await harness.refund_service.carry_out(waiting.id)
    harness.sagas.refunds.clear()

    await moved(harness, dispute_id, "won")

    assert (waiting.id, True) in harness.sagas.refunds
    assert (await harness.refunded(payment, 100)).status is RefundStatus.SUCCEEDED
    assert (await harness.stored(payment)).amount_refunded == 700
    await check_settled(harness, payment)


async def test_a_refund_that_waited_fails_once_the_dispute_took_the_money_for_good(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    waiting = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    await moved(harness, dispute_id, "lost")
    await harness.run_sagas(payment)

    failed = (await harness.stored(payment)).get_refund(waiting.id)
    assert (failed.status, failed.saga_open) == (RefundStatus.FAILED, True)
    assert "charged back" in (failed.failure_reason or "")
    with pytest.raises(RefundExceedsPayment):
        await harness.refund_service.replace_failed(failed.id)


async def test_a_dispute_of_which_stripe_speaks_first_when_it_refuses_a_refund_is_stored(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)

    for _ in range(2):
        with pytest.raises(PaymentDisputed, match=dispute_id):
            await harness.refund_service.carry_out(refund.id)

    assert (await harness.the_dispute(payment)).id == dispute_id
    assert (await harness.stored(payment)).get_refund(refund.id).status is RefundStatus.REQUESTED
    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599")]


async def test_a_refund_that_stripe_refused_for_a_dispute_is_made_once_that_is_won(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    with pytest.raises(PaymentDisputed):
        await harness.refund_service.carry_out(refund.id)

    await moved(harness, dispute_id, "won")
    after = await harness.run_sagas(payment)

    assert after.get_refund(refund.id).status is RefundStatus.SUCCEEDED
    assert len(await harness.refunds(payment)) == 1
    await check_settled(harness, payment)


async def test_a_chargeback_fails_the_refund_that_is_under_way(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    dispute_id = await harness.dispute(payment)
    await harness.hear()

    failed = (await harness.stored(payment)).get_refund(refund.id)
    assert (failed.status, failed.failure_reason) == (RefundStatus.FAILED, "charge_for_pending_refund_disputed")
    with pytest.raises(PaymentDisputed):
        await harness.refund_service.replace_failed(refund.id)
    await moved(harness, dispute_id, "won")
    replaced = await harness.refund_service.replace_failed(refund.id)
    assert [each.status for each in replaced.refunds] == [RefundStatus.REPLACED, RefundStatus.REQUESTED]


async def test_what_is_due_after_a_void_waits_for_the_bank_and_goes_back_once_the_dispute_is_won(
    harness: PaymentHarness,
) -> None:
    payment, dispute_id = await disputed(harness)
    await harness.service.void(payment.order_id)
    [due] = (await harness.stored(payment)).refunds
    with pytest.raises(PaymentDisputed):
        await harness.refund_service.carry_out(due.id)

    await moved(harness, dispute_id, "won")
    after = await harness.run_sagas(payment)

    assert (due.origin, after.get_refund(due.id).status) == (RefundOrigin.VOID, RefundStatus.SUCCEEDED)
    assert after.amount_refunded == 2_599
    await check_settled(harness, payment)


async def test_events_that_are_doubled_and_come_in_any_order_tell_each_change_once(harness: PaymentHarness) -> None:
    payment, dispute_id = await disputed(harness)
    harness.move_dispute(dispute_id, "under_review")
    harness.move_dispute(dispute_id, "won")
    bodies = await harness.webhook_bodies(*DISPUTES)

    for order in list(permutations(range(len(bodies))))[::7][:6]:
        await harness.deliver([bodies[number] for number in order])
        await harness.make_events_due()
        await harness.process_events()

    # It was read when it was won already: what it was in between nobody saw.
    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599"), ("WON", "2599")]
    assert (await harness.the_dispute(payment)).version == 2


async def test_a_dispute_seen_by_several_processes_at_once_is_published_once(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    await harness.dispute(payment)
    processes = [(await harness.another_process()).disputes for _ in range(5)]

    await asyncio.gather(*(process.catch_up(payment) for process in processes))

    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599")]
    assert (await harness.the_dispute(payment)).version == 1


async def test_the_sweep_brings_a_dispute_whose_webhooks_were_lost(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    dispute_id = await harness.dispute(payment)

    for _ in range(2):
        await harness.sweep()

    assert set(harness.sagas.disputes) == {(dispute_id, True)}
    assert (await harness.the_dispute(payment)).id == dispute_id


def strange(kind: str, intent_id: str | None) -> bytes:
    """An event of a dispute or refund that shows nothing of ours but, perhaps, its intent."""
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
async def test_of_events_without_our_metadata_those_of_our_intents_are_taken(
    harness: PaymentHarness, kind: str
) -> None:
    payment, another = await harness.opened(VISA), await harness.opened()

    await harness.deliver([strange(kind, intent) for intent in (payment.intent_id, "pi_of_another_shop", None)])
    await harness.deliver([strange(kind, another.intent_id)])
    rows = await harness.rows("SELECT intent_id, order_id FROM provider_events WHERE type = %(kind)s", kind=kind)
    await harness.process_events()

    assert len(rows) == 2
    assert {row["intent_id"] for row in rows} == {payment.intent_id, another.intent_id}
    assert {row["order_id"] for row in rows} == {None}
    assert harness.components.webhooks.dropped == {"metadata": 2}
    assert set((await harness.event_statuses()).values()) == {"APPLIED"}


async def test_an_event_of_the_wrong_mode_is_dropped_though_its_intent_is_ours(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    live = msgspec.json.decode(strange("charge.dispute.created", payment.intent_id)) | {"livemode": True}

    await harness.deliver([msgspec.json.encode(live)])

    assert (await harness.event_statuses(), harness.components.webhooks.dropped) == ({}, {"livemode": 1})


async def test_a_case_reads_its_dispute_and_closes_it_at_the_version_that_it_saw(harness: PaymentHarness) -> None:
    payment, dispute_id = await disputed(harness)
    open_one = (await harness.components.disputes.check(dispute_id)).get_dispute(dispute_id)
    harness.move_dispute(dispute_id, "lost")

    lost = (await harness.components.disputes.check(dispute_id)).get_dispute(dispute_id)
    too_early = await harness.components.disputes.close(dispute_id, version=open_one.version)
    closed = [await harness.components.disputes.close(dispute_id, version=lost.version) for _ in range(2)]
    await harness.hear(*DISPUTES)

    assert (open_one.status, lost.status) == (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.LOST)
    assert (too_early, closed) == (False, [True, True])
    assert not (await harness.the_dispute(payment)).saga_open
    with pytest.raises(DisputeNotFound):
        await harness.components.disputes.check("du_nobody")
    with pytest.raises(DisputeNotFound):
        await harness.components.disputes.close("du_nobody", version=1)


async def test_a_case_that_finds_its_dispute_decided_lets_waiting_refunds_go_on(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    waiting = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    await harness.hear(*DISPUTES)
    harness.move_dispute(dispute_id, "won")
    harness.sagas.refunds.clear()

    await harness.components.disputes.check(dispute_id)
    await harness.follow_up()

    assert harness.sagas.refunds == [(waiting.id, True)]


async def test_refunds_that_waited_are_notified_once_temporal_is_back(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    waiting = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    await harness.hear(*DISPUTES)
    harness.move_dispute(dispute_id, "won")
    harness.sagas.refunds.clear()
    harness.sagas.is_away = True
    await harness.components.disputes.check(dispute_id)
    await harness.follow_up()
    assert await harness.unnotified() == [waiting.id]
    harness.sagas.is_away = False

    await harness.make_follow_ups_due()
    await harness.follow_up()

    assert (waiting.id, True) in harness.sagas.refunds


async def test_a_refund_that_waits_for_a_bank_is_left_alone_until_that_has_decided(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    waiting = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    await harness.hear(*DISPUTES)
    harness.sagas.refunds.clear()

    await moved(harness, dispute_id, "under_review")
    meanwhile = list(harness.sagas.refunds)
    await moved(harness, dispute_id, "won")

    assert (meanwhile, harness.sagas.refunds) == ([], [(waiting.id, True)])


async def test_while_stripe_is_away_an_event_of_a_dispute_waits(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    dispute_id = await harness.dispute(payment)
    harness.break_api("disputes.list", error_500_before=1.0)
    await harness.hear(*DISPUTES)
    waiting = set((await harness.event_statuses()).values())
    with pytest.raises(StripeUnavailable):
        await harness.components.disputes.catch_up(payment)
    harness.fix_api()

    await harness.make_events_due()
    await harness.process_events()
    await harness.follow_up()

    assert (waiting, set((await harness.event_statuses()).values())) == ({"RECEIVED"}, {"APPLIED"})
    assert harness.sagas.disputes == [(dispute_id, True)]
    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599")]


async def test_while_temporal_is_away_what_an_event_changed_of_a_dispute_waits_to_be_followed_up(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    dispute_id = await harness.dispute(payment)
    harness.sagas.is_away = True
    await harness.hear(*DISPUTES)
    waiting = await harness.unnotified()
    harness.sagas.is_away = False

    await harness.make_follow_ups_due()
    await harness.follow_up()

    assert set((await harness.event_statuses()).values()) == {"APPLIED"}
    assert (waiting, await harness.unnotified()) == ([dispute_id], [])
    assert harness.sagas.disputes == [(dispute_id, True)]
    assert await published(harness, payment) == [("NEEDS_RESPONSE", "2599")]


async def test_a_dispute_that_temporal_refuses_for_good_is_postponed_and_the_rest_goes_on(
    harness: PaymentHarness,
) -> None:
    poisoned, *others = [await harness.dispute(await harness.opened(VISA)) for _ in range(12)]
    harness.sagas.refused = {poisoned}

    await harness.hear("charge.dispute.created")
    await harness.follow_up()

    [row] = await harness.rows(
        "SELECT attempts, next_attempt_at > now() AS postponed, last_error FROM disputes WHERE id = %(id)s", id=poisoned
    )
    assert row == {"attempts": 1, "postponed": True, "last_error": "Temporal: INVALID_ARGUMENT"}
    assert sorted(harness.sagas.disputes) == sorted((dispute, True) for dispute in others)


async def test_a_case_that_nobody_started_is_started_later(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    dispute_id = await harness.dispute(payment)
    harness.sagas.is_away = True
    await harness.hear(*DISPUTES)
    harness.sagas.is_away = False
    await harness.make_follow_ups_due()

    await harness.follow_up()
    await harness.make_follow_ups_due()
    await harness.follow_up()

    assert harness.sagas.disputes == [(dispute_id, True), (dispute_id, False)]
    assert await harness.unnotified() == []


async def test_a_second_dispute_stops_refunds_though_the_first_was_won(harness: PaymentHarness) -> None:
    payment, first = await disputed(harness, amount=1_000)
    await moved(harness, first, "won")
    [charge] = await harness.charges(payment)
    harness.forget_dispute(charge)
    second = await harness.dispute(payment, amount=1_500)
    await harness.hear(*DISPUTES)

    stored = await harness.stored(payment)
    assert {dispute.id: dispute.withdrawn for dispute in stored.disputes} == {first: 0, second: 1_500}
    with pytest.raises(PaymentDisputed, match=second):
        await harness.request(payment, 100)
