"""What the payment service tells people on call: what does not get through, and an order's payment from end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from domain.concerns import FLAGGED_STEP, WAITING_STEP, ConcernKind
from domain.ids import new_id
from runtime.caller import Caller, CallerRole
from runtime.on_call import Concern, OrderRecord, Section, TimelineEntry
from services.payment.on_call.repository import FLAGGED_EVENTS, WAITING_EVENTS, failing_follow_ups
from services.payment.payments.model import Payment
from services.payment.payments.repository import select_open_cases
from tests.support.payment_harness import ADMIN, PaymentHarness

SUCCEEDED = "payment_intent.succeeded"
NOW = timedelta(0)
"""Younger than anything that waits."""


async def find_concerns(harness: PaymentHarness, *, older_than: timedelta = NOW, most: int = 10) -> list[Concern]:
    return await harness.components.on_call.find_concerns(older_than=older_than, most=most)


async def describe(harness: PaymentHarness, payment: Payment) -> OrderRecord:
    record = await harness.components.on_call.describe_order(payment.order_id)
    assert record is not None
    return record


def section(record: OrderRecord, title: str) -> list[Mapping[str, object]]:
    """The rows of the record's table of that title, each by its columns."""
    [found] = [each for each in record.sections if each.title == title]
    assert isinstance(found, Section)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def entries(record: OrderRecord, *types: str) -> list[TimelineEntry]:
    """What of these types happened."""
    return [entry for entry in record.timeline if entry.type in types]


async def heard_of(harness: PaymentHarness, payment_method: str = "pm_card_visa") -> Payment:
    payment = await harness.opened()
    await harness.customer_pays(payment, payment_method)
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    return payment


async def fail_twice(harness: PaymentHarness) -> None:
    for _ in range(2):
        await harness.make_events_due()
        await harness.process_events()


async def test_while_everything_gets_through_nothing_is_told(harness: PaymentHarness) -> None:
    await heard_of(harness)
    await harness.process_events()

    assert await find_concerns(harness) == []


async def test_an_event_that_fails_again_and_again_is_told_with_its_order_attempts_and_error(
    harness: PaymentHarness,
) -> None:
    payment = await heard_of(harness)
    harness.sagas.is_away = True
    await fail_twice(harness)

    [concern] = await find_concerns(harness)

    [event] = await harness.rows("SELECT event_id, received_at FROM provider_events WHERE status = 'RECEIVED'")
    assert concern == Concern(
        kind=ConcernKind.EVENT,
        subject_id=event["event_id"],
        step=WAITING_STEP,
        order_id=payment.order_id,
        cause="Stripe's payment_intent.succeeded cannot be processed",
        since=event["received_at"],
        attempts=2,
        last_error="Temporal: UNAVAILABLE",
    )
    assert await find_concerns(harness, older_than=timedelta(minutes=1)) == []


async def test_the_order_of_an_event_that_names_none_is_found_by_its_intent(harness: PaymentHarness) -> None:
    payment = await heard_of(harness)
    await harness.rows("UPDATE provider_events SET order_id = NULL RETURNING event_id")
    harness.sagas.is_away = True
    await fail_twice(harness)

    [concern] = await find_concerns(harness)

    assert concern.order_id == payment.order_id


async def test_a_flagged_event_is_told_until_it_is_dismissed(harness: PaymentHarness) -> None:
    await heard_of(harness)
    await harness.rows(
        "UPDATE provider_events SET status = 'FLAGGED', note = 'gone', last_error = 'gone', processed_at = now()"
        " RETURNING event_id"
    )

    [flagged] = await find_concerns(harness, older_than=timedelta(minutes=1))
    await harness.components.event_desk.dismiss(flagged.subject_id, note="operator:ada")

    assert (flagged.kind, flagged.step, flagged.last_error) == (ConcernKind.EVENT, FLAGGED_STEP, "gone")
    assert await find_concerns(harness) == []


async def test_a_refund_whose_workflow_cannot_be_started_is_told_since_the_first_failure_until_it_can(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")
    refund = (await harness.request(payment)).refund
    await harness.rows("UPDATE refunds SET created_at = now() - interval '3 d' WHERE saga_open RETURNING id")
    harness.sagas.is_away = True
    for _ in range(2):
        await harness.make_follow_ups_due()
        await harness.follow_up()

    [concern] = await find_concerns(harness)
    not_yet = await find_concerns(harness, older_than=timedelta(minutes=1))
    harness.sagas.is_away = False
    await harness.make_follow_ups_due()
    await harness.follow_up()

    [row] = await harness.rows("SELECT failing_since FROM refunds WHERE id = %(id)s", id=refund.id)
    assert (concern.kind, concern.subject_id, concern.step) == (ConcernKind.REFUND, refund.id, WAITING_STEP)
    assert (concern.order_id, concern.attempts, concern.last_error) == (payment.order_id, 2, "Temporal: UNAVAILABLE")
    assert not_yet == []
    assert (await find_concerns(harness), row["failing_since"]) == ([], None)


async def test_a_dispute_whose_case_cannot_be_started_is_told(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    dispute_id = await harness.dispute(payment)
    harness.sagas.refused = {dispute_id}
    await harness.hear("charge.dispute.created")

    [concern] = await find_concerns(harness)

    assert (concern.kind, concern.subject_id, concern.order_id) == (ConcernKind.DISPUTE, dispute_id, payment.order_id)


async def test_no_more_are_read_than_can_be_told(harness: PaymentHarness) -> None:
    harness.sagas.is_away = True
    for _ in range(4):
        await heard_of(harness)
    await harness.rows("UPDATE provider_events SET attempts = 2 WHERE status = 'RECEIVED' RETURNING event_id")

    assert len(await find_concerns(harness, most=2)) == 3  # one more, so that it can be said that there are more


LAST = "00000000-0000-0000-0000-000000000000"
FULL = """
    INSERT INTO payments (id, order_id, amount, currency, status, intent_id, amount_received, closing, voided,
                          generation, generation_at, seq, version, created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 1, 'EUR', 'SUCCEEDED', 'pi_' || n, 1, false, false, 0, now(), 1, 0,
           now(), now()
      FROM generate_series(1, 20000) AS n;
    INSERT INTO provider_events (event_id, type, intent_id, received_at, status, note, attempts, next_attempt_at)
    SELECT 'evt_' || n, 'payment_intent.succeeded', 'pi_' || n, now(), 'APPLIED', '', 1, now()
      FROM generate_series(1, 20000) AS n;
    INSERT INTO refunds (id, payment_id, origin, amount, currency, status, generation, restock, restock_id, note,
                         version, saga_open, notified_version, created_at, updated_at, attempts, next_attempt_at)
    SELECT gen_random_uuid(), id, 'ADMIN', 1, 'EUR', 'SUCCEEDED', 0, '[]', gen_random_uuid(), '', 1,
           right(intent_id, 1) = '0', 1, now(), now() - interval '1 h', 0, now()
      FROM payments WHERE intent_id IS NOT NULL;
    ANALYZE payments, provider_events, refunds
"""


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (WAITING_EVENTS, "ix_provider_events_waiting"),
        (FLAGGED_EVENTS, "ix_provider_events_flagged"),
        (failing_follow_ups("refunds"), "ix_refunds_failing"),
        (select_open_cases("refunds", after=None), "ix_refunds_open_id"),
        (select_open_cases("refunds", after=LAST), "ix_refunds_open_id"),
    ],
)
async def test_what_stands_still_is_found_by_an_index_that_holds_nothing_else(
    harness: PaymentHarness, statement: Any, index: str
) -> None:
    async with harness.database.transaction() as connection:
        for part in FULL.split(";"):
            await connection.execute(part)
        plan: list[dict[str, str]] = await connection.fetch_all(
            dict, f"EXPLAIN {statement}", older_than=timedelta(minutes=1), most=100, after=LAST
        )
        await connection.execute("TRUNCATE provider_events, payments CASCADE")
    lines = [row["QUERY PLAN"] for row in plan]

    assert any(index in line for line in lines), lines
    assert not any("Seq Scan" in line for line in lines), lines


async def test_an_unknown_order_is_not_described(harness: PaymentHarness) -> None:
    assert await harness.components.on_call.describe_order(new_id()) is None


async def test_an_event_of_an_order_without_a_payment_is_described(harness: PaymentHarness) -> None:
    await heard_of(harness)
    stranger = new_id()
    await harness.rows(
        "UPDATE provider_events SET order_id = %(id)s, intent_id = 'pi_stray' RETURNING event_id", id=stranger
    )

    record = await harness.components.on_call.describe_order(stranger)

    assert record is not None
    assert [row["type"] for row in section(record, "provider events")] == [SUCCEEDED]


async def test_a_payment_is_described_with_attempts_refunds_disputes_and_events(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_chargeDeclinedInsufficientFunds")
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.hear(SUCCEEDED, "payment_intent.payment_failed")
    refund = await harness.refunded(payment, 600)
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    harness.move_dispute(dispute_id, "lost")
    await harness.hear("charge.dispute.closed")

    record = await describe(harness, payment)

    assert record.user_id == payment.user_id
    [row] = section(record, "payment")
    assert (row["payment"], row["status"], row["received"]) == (payment.id, "SUCCEEDED", "25.99 EUR")
    assert row["intent"] == payment.intent_id
    [attempt] = section(record, "payment attempts")
    assert attempt["decline_code"] == "insufficient_funds"
    [row] = section(record, "refunds")
    assert (row["refund"], row["amount"], row["requested_by"]) == (refund.id, "6.00 EUR", f"admin:{ADMIN}")
    assert (row["stripe_refund"], row["note"]) == (refund.stripe_refund_id, "arrived broken")
    [row] = section(record, "disputes")
    assert (row["dispute"], row["status"]) == (dispute_id, "LOST")
    assert {row["status"] for row in section(record, "provider events") if row["type"] == SUCCEEDED} == {"APPLIED"}
    stored = await harness.stored(payment)
    assert [row["event"] for row in section(record, "events")] == [
        f"payment:{payment.id}:{seq}" for seq in range(1, stored.seq + 1)
    ]


async def test_the_timeline_tells_what_happened_and_the_customer_their_part_of_it(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_chargeDeclinedInsufficientFunds")
    await harness.customer_pays(payment, "pm_card_visa_chargeDeclinedStolenCard")
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.hear(SUCCEEDED, "payment_intent.payment_failed")
    await harness.refunded(payment, 600)
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    harness.move_dispute(dispute_id, "won")
    await harness.hear("charge.dispute.closed")

    record = await describe(harness, payment)

    assert {entry.text for entry in entries(record, "payment.declined")} == {
        "the bank declined the payment: there was too little money on the card's account",
        "the bank declined the payment",  # Stripe asks not to tell customers that a card is stolen
    }
    assert [entry.text for entry in entries(record, "payment.succeeded")] == ["the payment succeeded"]
    [requested] = entries(record, "refund.requested")
    assert (requested.actor, requested.note, requested.for_customer) == (f"admin:{ADMIN}", "arrived broken", False)
    [settled] = entries(record, "refund.settled")
    assert settled.text.startswith("6.00 EUR was given back")
    assert [entry.type for entry in entries(record, "dispute.opened", "dispute.closed")] == [
        "dispute.opened",
        "dispute.closed",
    ]
    assert entries(record, "provider_event.received", "provider_event.applied")
    assert {entry.type for entry in record.timeline if entry.for_customer} == {
        *("payment.opened", "payment.declined", "payment.succeeded", "refund.settled"),
    }
    assert all(entry.actor == entry.note == "" for entry in record.timeline if entry.for_customer)


async def test_the_timeline_tells_that_a_bank_sent_back_what_was_given_back(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_refundFail")
    refund = await harness.refunded(payment, 600)
    harness.move_refund(refund.stripe_refund_id, "failed", failure_reason="lost_or_stolen_card")
    await harness.hear("refund.failed")

    record = await describe(harness, payment)

    became = entries(record, "refund.settled", "refund.failed")
    assert [(entry.type, entry.text, entry.for_customer) for entry in became] == [
        ("refund.settled", f"6.00 EUR was given back (refund {refund.id})", True),
        ("refund.failed", f"6.00 EUR could not be given back (refund {refund.id})", True),
    ]


async def test_a_tombstone_is_described(harness: PaymentHarness) -> None:
    order_id = new_id()
    await harness.service.void(order_id)

    record = await harness.components.on_call.describe_order(order_id)

    assert record is not None
    [row] = section(record, "payment")
    assert (row["status"], row["amount"], entries(record, "payment.opened")) == ("CANCELLED", None, [])


async def test_a_refund_that_an_operator_asked_for_is_kept_under_their_name_once_per_key(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")
    ada, grace = Caller(CallerRole.OPERATOR, "ada"), Caller(CallerRole.OPERATOR, "grace")

    first, again = [
        await harness.request(payment, 500, key="k1", requested_by=ada.key, operator=ada.id, note=note)
        for note in ("a broken cup", "typed again")
    ]
    other = await harness.request(payment, 500, key="k1", requested_by=grace.key, operator=grace.id)

    assert (first.replayed, again.replayed, again.refund.id) == (False, True, first.refund.id)
    assert other.refund.id != first.refund.id
    assert (first.refund.requested_by, first.refund.actor, other.refund.actor) == (
        None,
        "operator:ada",
        "operator:grace",
    )
    assert {row["requested_by"] for row in section(await describe(harness, payment), "refunds")} == {
        *("operator:ada", "operator:grace"),
    }


async def open_cases(harness: PaymentHarness, *, after: str | None = None, most: int = 10) -> Sequence[str]:
    cases = await harness.service.list_open_cases("refunds", after=after, most=most)
    return [case.id for case in cases]


async def test_open_refunds_are_listed_by_id_a_batch_at_a_time_but_for_those_that_have_just_changed(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")
    ids = sorted([(await harness.request(payment, 100)).refund.id for _ in range(3)])
    fresh = await open_cases(harness)
    await harness.rows("UPDATE refunds SET updated_at = now() - interval '11 s' WHERE saga_open RETURNING id")

    first = await open_cases(harness, most=2)
    rest = await open_cases(harness, after=first[-1], most=2)

    assert (fresh, first, rest) == ([], ids[:2], ids[2:])
