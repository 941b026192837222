"""Stripe's events and our own are deleted when old; a payment's history stays, and a repeat changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
import pytest_asyncio

from runtime.on_call import OrderRecord
from services.payment.payments.model import Payment
from tests.support.payment_harness import PaymentHarness, payment_harness
from tests.support.retention import delete_old
from tests.support.shared_postgres import PostgresServer, unique_suffix

SUCCEEDED = "payment_intent.succeeded"
FAILED = "payment_intent.payment_failed"
OWN = ("payment.", "refund.", "dispute.")


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def clean(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """The DSN of a database in which nobody else works."""
    return postgres.copy_databases(f"payment_retention_{unique_suffix(worker_id)}", ["payment"])


@pytest_asyncio.fixture
async def harness(clean: Mapping[str, str]) -> AsyncIterator[PaymentHarness]:
    async with payment_harness(clean["payment"]) as harness:
        yield harness


async def delete(harness: PaymentHarness) -> None:
    await delete_old(harness.components.retention, harness.database)


async def age_events(harness: PaymentHarness, by: str) -> None:
    """Let Stripe's events be older."""
    await harness.rows(
        """
        UPDATE provider_events
           SET received_at = received_at - %(by)s::interval, processed_at = processed_at - %(by)s::interval
        RETURNING event_id
        """,
        by=by,
    )


async def age_outbox(harness: PaymentHarness) -> None:
    """Let our own events have been published long ago."""
    await harness.rows("UPDATE outbox SET published_at = now() - interval '8 days' RETURNING id")


async def describe(harness: PaymentHarness, payment: Payment) -> OrderRecord:
    record = await harness.components.on_call.describe_order(payment.order_id)
    assert record is not None
    return record


def provider_events(record: OrderRecord) -> Sequence[Sequence[object]]:
    [section] = [section for section in record.sections if section.title == "provider events"]
    return section.rows


def history(record: OrderRecord) -> list[tuple[str, str]]:
    return [(entry.type, entry.text) for entry in record.timeline if entry.type.startswith(OWN)]


async def test_done_events_go_and_those_that_are_open_never_do(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.hear(SUCCEEDED, "charge.succeeded")
    waits, flagged = await harness.opened("pm_card_visa"), await harness.opened("pm_card_visa")
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    await harness.rows(
        """
        UPDATE provider_events SET status = 'FLAGGED', processed_at = now() WHERE order_id = %(id)s RETURNING event_id
        """,
        id=flagged.order_id,
    )

    await age_events(harness, "44 days 23 hours")
    await delete(harness)
    before = await harness.rows("SELECT status FROM provider_events WHERE order_id = %(id)s", id=payment.order_id)
    assert "APPLIED" in {row["status"] for row in before}

    await age_events(harness, "2 hours")
    await delete(harness)
    await harness.rows(
        "UPDATE payments SET created_at = now() - interval '46 days' WHERE id = %(id)s RETURNING id", id=payment.id
    )
    assert [row[3] for row in provider_events(await describe(harness, payment))] == [
        "events that were done by then have been deleted"
    ]
    assert [row[2] for row in provider_events(await describe(harness, flagged))] == ["FLAGGED"]
    left = await harness.rows("SELECT order_id::text, status FROM provider_events")
    assert {(row["order_id"], row["status"]) for row in left} == {
        (waits.order_id, "RECEIVED"),
        (flagged.order_id, "FLAGGED"),
    }
    await age_events(harness, "900 days")
    await delete(harness)
    assert len(await harness.rows("SELECT event_id FROM provider_events")) == len(left)


async def test_an_event_that_comes_again_when_it_is_forgotten_changes_nothing(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_authenticationRequired")
    harness.authenticate(payment, succeeds=False)
    await harness.customer_pays(payment, "pm_card_chargeDeclinedInsufficientFunds")
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.hear(SUCCEEDED, FAILED, "charge.failed")
    await harness.refunded(payment, 600)
    await harness.hear("refund.created", "refund.updated")
    before, published = await harness.stored(payment), await harness.published(payment.order_id)
    await age_events(harness, "46 days")
    await delete(harness)
    assert await harness.rows("SELECT event_id FROM provider_events") == []

    await harness.hear()
    await harness.sweep()

    assert await harness.rows("SELECT event_id FROM provider_events WHERE status = 'APPLIED'") != []
    after = await harness.stored(payment)
    assert (after.failed_attempts, after.seq, after.status) == (before.failed_attempts, before.seq, before.status)
    assert after.failed_attempts == 2
    assert [refund.id for refund in after.refunds] == [refund.id for refund in before.refunds]
    assert await harness.published(payment.order_id) == published
    assert await harness.unnotified() == []


async def test_the_timeline_is_the_same_when_the_outbox_has_forgotten(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_refundFail")
    await harness.hear(SUCCEEDED)
    refund = await harness.refunded(payment, 600)
    harness.move_refund(refund.stripe_refund_id, "failed", failure_reason="lost_or_stolen_card")
    await harness.hear("refund.failed")
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    harness.move_dispute(dispute_id, "won")
    await harness.hear("charge.dispute.closed")
    before = history(await describe(harness, payment))

    await age_outbox(harness)
    await delete(harness)

    assert await harness.published(payment.order_id) == []
    record = await describe(harness, payment)
    assert history(record) == before
    assert {kind for kind, _ in before} >= {"payment.succeeded", "refund.settled", "refund.failed", "dispute.closed"}
    [events] = [section for section in record.sections if section.title == "events"]
    last = (await harness.stored(payment)).seq
    assert [row[0] for row in events.rows] == [f"payment:{payment.id}:{seq}" for seq in range(1, last + 1)]
    assert {row[-1] for row in events.rows} == {"published; its outbox row has been deleted since"}


async def test_half_of_a_history_is_told_from_either_place_in_its_order(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.hear(SUCCEEDED)
    await age_outbox(harness)
    await delete(harness)
    await harness.refunded(payment, 600)

    record = await describe(harness, payment)

    kinds = [kind for kind, _ in history(record)]
    assert kinds.count("payment.succeeded") == 1
    assert kinds.count("refund.settled") == 1
    [events] = [section for section in record.sections if section.title == "events"]
    wheres = [str(row[-1]) for row in events.rows]
    assert wheres[0].startswith("published; its outbox row")
    assert wheres[-1] == "not yet: waits for the relay"
