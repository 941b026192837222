"""Events of Stripe's that do not get through: when one is flagged, and what a person does about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from services.payment.payments.model import Payment
from services.payment.sagas import SagaMissing
from services.payment.webhooks.errors import EventDone, EventNotFound
from tests.support.background import running
from tests.support.payment_harness import PaymentHarness, payment_harness

SUCCEEDED = "payment_intent.succeeded"
NOT_FOUND = "No such payment_intent"


@pytest.fixture
async def impatient(databases: Mapping[str, str]) -> AsyncIterator[PaymentHarness]:
    """A service that flags at once what can never be processed as things stand."""
    async with payment_harness(databases["payment"], unknown_event_grace_period=1e-6) as made:
        yield made


async def paid_and_heard_of(harness: PaymentHarness) -> Payment:
    """A payment whose success Stripe has told of; the event is not processed yet."""
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    return payment


async def the_event(harness: PaymentHarness) -> dict[str, Any]:
    [row] = await harness.rows(
        "SELECT * FROM provider_events WHERE status <> 'IGNORED' OR type = %(type)s", type=SUCCEEDED
    )
    return row


async def test_an_event_whose_intent_stripe_does_not_know_is_tried_again_for_a_while(harness: PaymentHarness) -> None:
    payment = await paid_and_heard_of(harness)
    harness.forget_intent(payment.intent_id or "")

    await harness.process_events()

    event = await the_event(harness)
    assert event["status"] == "RECEIVED"
    assert NOT_FOUND in event["last_error"]


async def test_an_event_whose_intent_stripe_never_knows_is_flagged_with_its_reason(impatient: PaymentHarness) -> None:
    payment = await paid_and_heard_of(impatient)
    impatient.forget_intent(payment.intent_id or "")

    await impatient.process_events()

    event = await the_event(impatient)
    assert event["status"] == "FLAGGED"
    assert NOT_FOUND in event["note"]
    assert impatient.sagas.orders == []


async def test_what_fails_for_another_cause_is_never_flagged(impatient: PaymentHarness) -> None:
    await paid_and_heard_of(impatient)
    impatient.break_api("payment_intents.retrieve", error_500_before=1.0)

    await impatient.process_events()

    assert (await the_event(impatient))["status"] == "RECEIVED"


async def test_an_event_that_fails_for_long_is_tried_every_minute(harness: PaymentHarness) -> None:
    await paid_and_heard_of(harness)
    harness.break_api("payment_intents.retrieve", error_500_before=1.0)
    await harness.rows("UPDATE provider_events SET attempts = 40 RETURNING event_id")

    await harness.process_events()

    [row] = await harness.rows("SELECT next_attempt_at - now() AS pause FROM provider_events WHERE status = 'RECEIVED'")
    assert timedelta(seconds=30) < row["pause"] <= timedelta(seconds=60)


async def test_an_event_of_an_open_order_without_a_workflow_waits_until_it_has_one(
    harness: PaymentHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await paid_and_heard_of(harness)
    notify = harness.sagas.notify_order

    async def missing(*, order_id: str, event_id: str) -> None:
        raise SagaMissing(order_id)

    monkeypatch.setattr(harness.sagas, "notify_order", missing)
    await harness.process_events()
    waiting = await the_event(harness)
    monkeypatch.setattr(harness.sagas, "notify_order", notify)
    await harness.make_events_due()
    await harness.process_events()

    assert (waiting["status"], payment.order_id in waiting["last_error"]) == ("RECEIVED", True)
    assert (await the_event(harness))["status"] == "APPLIED"
    assert harness.sagas.notified_orders == {payment.order_id}


async def test_a_flagged_event_that_is_retried_once_its_cause_is_mended_is_processed(harness: PaymentHarness) -> None:
    payment = await paid_and_heard_of(harness)
    await harness.rows(
        "UPDATE provider_events SET status = 'FLAGGED', note = 'gone', processed_at = now() RETURNING event_id"
    )

    async with running(harness.components.inbox.run):
        retried = await harness.components.event_desk.retry((await the_event(harness))["event_id"])

    assert (retried.done, retried.outcome) == (True, "it is processed")
    assert (await harness.stored(payment)).status is PaymentStatus.SUCCEEDED
    assert harness.sagas.notified_orders == {payment.order_id}


async def test_an_event_that_fails_again_says_why_and_still_waits(harness: PaymentHarness) -> None:
    await paid_and_heard_of(harness)
    harness.sagas.is_away = True
    await harness.process_events()
    event = await the_event(harness)
    await harness.rows("UPDATE provider_events SET next_attempt_at = now() + interval '1 h' RETURNING event_id")

    async with running(harness.components.inbox.run):
        retried = await harness.components.event_desk.retry(event["event_id"])

    assert (retried.done, retried.outcome) == (False, "it failed again, and is tried again: Temporal: UNAVAILABLE")
    assert (await the_event(harness))["attempts"] == event["attempts"] + 1


async def test_an_event_that_is_flagged_again_says_why(impatient: PaymentHarness) -> None:
    payment = await paid_and_heard_of(impatient)
    impatient.forget_intent(payment.intent_id or "")
    await impatient.process_events()

    async with running(impatient.components.inbox.run):
        retried = await impatient.components.event_desk.retry((await the_event(impatient))["event_id"])

    assert (retried.done, NOT_FOUND in retried.outcome) == (False, True)
    assert (await the_event(impatient))["status"] == "FLAGGED"


async def test_a_dismissed_event_is_ignored_with_who_and_why_and_nothing_more_can_be_done(
    harness: PaymentHarness,
) -> None:
    await paid_and_heard_of(harness)
    harness.sagas.is_away = True
    await harness.process_events()
    event_id = (await the_event(harness))["event_id"]
    desk = harness.components.event_desk

    await desk.dismiss(event_id, note="operator:ada: paid out by hand")

    event = await the_event(harness)
    assert (event["status"], event["note"]) == ("IGNORED", "operator:ada: paid out by hand")
    for act in (desk.retry(event_id), desk.dismiss(event_id, note="operator:ada")):
        with pytest.raises(EventDone, match="IGNORED: operator:ada: paid out by hand"):
            await act
    await harness.make_events_due()
    await harness.process_events()
    assert (await the_event(harness))["status"] == "IGNORED"


async def test_nothing_can_be_done_about_an_event_that_is_applied_or_unknown(harness: PaymentHarness) -> None:
    await paid_and_heard_of(harness)
    await harness.process_events()
    event_id = (await the_event(harness))["event_id"]
    desk = harness.components.event_desk

    with pytest.raises(EventDone):
        await desk.retry(event_id)
    with pytest.raises(EventDone):
        await desk.dismiss(event_id, note="operator:ada")
    with pytest.raises(EventNotFound):
        await desk.retry(f"evt_{new_id()}")
    with pytest.raises(EventNotFound):
        await desk.dismiss(f"evt_{new_id()}", note="operator:ada")
