"""Stripe's events: what is stored, what is refused, what each sets in motion, and what a broken webhook costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from services.payment.payments.model import Payment
from services.payment.stripe.errors import StripeUnavailable
from services.payment.webhooks.errors import BadWebhookBody, BadWebhookSignature
from services.payment.webhooks.repository import DUE_EVENTS
from tests.support.payment_harness import PREVIOUS_SECRET, PaymentHarness, payment_harness, sign, sweep
from tests.support.stripe_double import WEBHOOK_SECRET

VISA = "pm_card_visa"
SUCCEEDED = "payment_intent.succeeded"
FAILED = "payment_intent.payment_failed"


@pytest.fixture
async def impatient(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[PaymentHarness]:
    async with payment_harness(databases["payment"], unknown_event_grace_period=1e-6) as made:
        yield made


def event(**changes: Any) -> bytes:
    """A signed body's worth: the success of an intent that nobody knows."""
    subject = {
        "id": "pi_unknown",
        "object": "payment_intent",
        "status": "succeeded",
        "client_secret": "pi_unknown_secret_x",
        "metadata": {"app": "ordersaga", "order_id": new_id()},
    }
    values = {
        "id": f"evt_{new_id().replace('-', '')}",
        "object": "event",
        "type": SUCCEEDED,
        "created": 1_790_000_000,
        "livemode": False,
        "data": {"object": subject},
    }
    return msgspec.json.encode(values | changes)


async def the_event(harness: PaymentHarness) -> dict[str, Any]:
    [row] = await harness.rows("SELECT * FROM provider_events WHERE status <> 'IGNORED'")
    return row


async def test_an_event_makes_the_payment_catch_up_and_wakes_the_order(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")

    await harness.deliver(await harness.webhook_bodies())
    await harness.process_events()

    paid = await harness.service.check(payment.order_id, refresh=False)
    assert (paid.status, paid.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)
    assert await harness.event_statuses() == {
        "payment_intent.created": "IGNORED",
        "charge.succeeded": "IGNORED",
        SUCCEEDED: "APPLIED",
    }
    applied = await the_event(harness)
    assert harness.sagas.orders == [(payment.order_id, applied["event_id"])]


async def test_doubled_and_reordered_events_are_processed_once_each_and_do_no_harm(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_chargeDeclined")
    await harness.customer_pays(payment, "pm_card_visa")
    bodies = await harness.webhook_bodies(SUCCEEDED, FAILED)

    for _ in range(3):
        await harness.deliver(bodies[::-1])
        await harness.process_events()

    paid = await harness.service.check(payment.order_id, refresh=False)
    assert (paid.status, paid.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)
    assert len(harness.sagas.orders) == 2
    seqs = [seq for _, seq, _ in await harness.published(payment.order_id)]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_decline_counts_once_though_seen_as_answer_event_and_re_read(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_chargeDeclined")

    await harness.deliver(await harness.webhook_bodies())
    await harness.process_events()
    refreshed = await harness.service.check(payment.order_id, refresh=True)

    assert (payment.failed_attempts, refreshed.failed_attempts) == (1, 1)


async def fail_authentication(harness: PaymentHarness, payment: Payment) -> None:
    """The customer tries to pay, and fails at their bank."""
    await harness.customer_pays(payment, "pm_card_authenticationRequired")
    harness.authenticate(payment, succeeds=False)


async def test_each_failed_authentication_is_an_attempt_once_however_often_it_is_heard_of(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    for _ in range(20):
        await fail_authentication(harness, payment)
    await harness.customer_pays(payment, "pm_card_authenticationRequired")  # who is asked once more meanwhile
    bodies = await harness.webhook_bodies(FAILED)

    for _ in range(2):
        await harness.deliver(bodies[::-1])
        await harness.sweep()
        await harness.process_events()
    refreshed = await harness.service.check(payment.order_id, refresh=True)

    assert (refreshed.status, refreshed.failed_attempts) == (PaymentStatus.REQUIRES_ACTION, 20)
    attempts = await harness.rows("SELECT * FROM payment_attempts WHERE payment_id = %(id)s", id=payment.id)
    assert {attempt["charge_id"][:4] for attempt in attempts} == {"evt_"}
    assert {attempt["decline_code"] for attempt in attempts} == {"payment_intent_authentication_failure"}
    assert len(set(harness.sagas.orders)) == len(harness.sagas.orders)


async def test_a_failed_authentication_is_one_attempt_though_its_event_is_processed_twice(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    await fail_authentication(harness, payment)
    await harness.deliver(await harness.webhook_bodies(FAILED))

    for harness.sagas.is_away in (True, False):
        await harness.make_events_due()
        await harness.process_events()

    assert (await the_event(harness))["status"] == "APPLIED"
    assert (await harness.stored(payment)).failed_attempts == 1


async def test_a_charge_that_fails_after_its_authentication_is_one_attempt(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
    harness.authenticate(payment, succeeds=True)

    await harness.deliver(await harness.webhook_bodies())
    await harness.process_events()

    assert (await harness.stored(payment)).failed_attempts == 1


async def test_an_authentication_that_failed_before_the_money_came_is_counted_though_heard_of_later(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    await fail_authentication(harness, payment)
    await harness.customer_pays(payment, VISA)
    failure, success = await harness.webhook_bodies(FAILED), await harness.webhook_bodies(SUCCEEDED)

    for bodies in (success, failure):
        await harness.deliver(bodies)
        await harness.process_events()

    paid = await harness.stored(payment)
    assert (paid.status, paid.failed_attempts) == (PaymentStatus.SUCCEEDED, 1)


async def test_the_inbox_works_by_itself_when_a_webhook_comes(
    harness: PaymentHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")
    signalled = asyncio.Event()
    record = harness.sagas.notify_order

    async def notify(*, order_id: str, event_id: str) -> None:
        await record(order_id=order_id, event_id=event_id)
        signalled.set()

    monkeypatch.setattr(harness.sagas, "notify_order", notify)
    working = asyncio.create_task(harness.components.inbox.run())

    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    await asyncio.wait_for(signalled.wait(), 10)
    working.cancel()
    await asyncio.wait([working])

    assert (await the_event(harness))["status"] == "APPLIED"


async def test_while_temporal_is_away_events_stay_and_are_tried_again(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    harness.sagas.is_away = True

    await harness.process_events()
    waiting = await the_event(harness)
    harness.sagas.is_away = False
    await harness.process_events()
    untouched = await the_event(harness)
    await harness.make_events_due()
    await harness.process_events()

    assert (waiting["status"], waiting["attempts"], waiting["last_error"]) == ("RECEIVED", 1, "Temporal: UNAVAILABLE")
    assert waiting["next_attempt_at"] - waiting["received_at"] < timedelta(seconds=30)
    assert untouched == waiting
    assert (await the_event(harness))["status"] == "APPLIED"
    assert harness.sagas.notified_orders == {payment.order_id}


async def test_while_stripe_is_away_events_stay_and_nobody_is_notified(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    harness.break_api("payment_intents.retrieve", error_500_before=1.0)

    await harness.process_events()

    assert ((await the_event(harness))["status"], harness.sagas.orders) == ("RECEIVED", [])
    harness.fix_api()
    await harness.make_events_due()
    await harness.process_events()
    assert (await the_event(harness))["status"] == "APPLIED"


async def test_an_event_that_hangs_does_not_hold_up_a_later_one(
    harness: PaymentHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.opened("pm_card_visa")
    hanging, released, notified = asyncio.Event(), asyncio.Event(), asyncio.Event()
    record = harness.sagas.notify_order

    async def hang_once(*, order_id: str, event_id: str) -> None:
        if not hanging.is_set():
            hanging.set()
            await released.wait()
        await record(order_id=order_id, event_id=event_id)
        notified.set()

    monkeypatch.setattr(harness.sagas, "notify_order", hang_once)
    working = asyncio.create_task(harness.components.inbox.run())
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    await asyncio.wait_for(hanging.wait(), 10)

    later = await harness.opened("pm_card_visa")
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    await asyncio.wait_for(notified.wait(), 10)

    assert harness.sagas.notified_orders == {later.order_id}
    released.set()
    working.cancel()
    await asyncio.wait([working])
    assert len(harness.sagas.orders) == 2


async def test_an_event_that_temporal_refuses_for_good_is_postponed_and_the_rest_goes_on(
    harness: PaymentHarness,
) -> None:
    poisoned, *others = [(await harness.opened(VISA)).order_id for _ in range(12)]
    harness.sagas.refused = {poisoned}

    for _ in range(2):
        await harness.hear(SUCCEEDED)

    rows = await harness.rows("SELECT order_id, status, last_error FROM provider_events")
    assert {row["order_id"] for row in rows if row["status"] == "APPLIED"} == set(others)
    [waiting] = [row for row in rows if row["status"] == "RECEIVED"]
    assert waiting == {
        "order_id": poisoned,
        "status": "RECEIVED",
        "last_error": "Temporal: INVALID_ARGUMENT",
    }
    assert harness.sagas.notified_orders == set(others)


async def test_an_event_of_an_unknown_order_is_tried_again_for_a_while(harness: PaymentHarness) -> None:
    await harness.deliver([event()])

    await harness.process_events()
    await harness.make_events_due()
    await harness.process_events()

    unknown = await the_event(harness)
    assert (unknown["status"], unknown["attempts"]) == ("RECEIVED", 2)
    assert harness.sagas.orders == []


async def test_an_event_of_an_order_that_stays_unknown_is_flagged(impatient: PaymentHarness) -> None:
    await impatient.deliver([event()])

    await impatient.process_events()

    unknown = await the_event(impatient)
    assert (unknown["status"], unknown["note"]) == ("FLAGGED", "no payment has this event's intent")


async def test_an_event_of_a_second_intent_of_an_order_is_flagged(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    stray = {
        "id": "pi_stray",
        "object": "payment_intent",
        "metadata": {"app": "ordersaga", "order_id": payment.order_id},
    }

    await harness.deliver([event(data={"object": stray})])
    await harness.process_events()

    flagged = await the_event(harness)
    assert flagged["status"] == "FLAGGED"
    assert "another intent" in flagged["note"]


async def test_late_money_on_a_voided_payment_goes_back_once(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    harness.break_api("payment_intents.cancel", error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.void(payment.order_id)
    await harness.customer_pays(payment, "pm_card_visa")
    harness.fix_api()

    await harness.hear(SUCCEEDED)
    [due] = (await harness.service.check(payment.order_id, refresh=False)).refunds
    for _ in range(2):
        await harness.run_sagas(payment)
        await harness.service.void(payment.order_id)
        await harness.hear()

    assert harness.sagas.refunds[0] == (due.id, True)
    assert (await harness.service.check(payment.order_id, refresh=False)).amount_refunded == 2_599
    assert len(await harness.refunds(payment)) == 1


async def test_while_temporal_is_away_late_money_is_due_to_go_back_and_its_event_waits(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    harness.break_api("payment_intents.cancel", error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.void(payment.order_id)
    await harness.customer_pays(payment, "pm_card_visa")
    harness.sagas.is_away = True

    await harness.hear(SUCCEEDED)
    waiting = await the_event(harness)
    harness.sagas.is_away = False
    await harness.make_events_due()
    await harness.process_events()
    await harness.make_follow_ups_due()
    await harness.follow_up()

    [due] = (await harness.service.check(payment.order_id, refresh=False)).refunds
    assert (waiting["status"], harness.sagas.refunds) == ("RECEIVED", [(due.id, True)])
    assert (await the_event(harness))["status"] == "APPLIED"


async def test_a_refund_that_stripe_takes_back_has_failed_and_wakes_its_saga(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_refundFail")
    await harness.service.void(payment.order_id)
    [given_back] = (await harness.run_sagas(payment)).refunds
    harness.sagas.refunds.clear()

    harness.move_refund(given_back.stripe_refund_id, "failed", failure_reason="expired_or_canceled_card")
    await harness.hear("refund.failed")

    taken_back = await harness.service.check(payment.order_id, refresh=False)
    [failed] = taken_back.refunds
    assert ((await the_event(harness))["status"], failed.status, failed.saga_open) == (
        "APPLIED",
        RefundStatus.FAILED,
        True,
    )
    assert (failed.failure_reason, failed.version) == ("expired_or_canceled_card", given_back.version + 1)
    assert taken_back.amount_refunded == 0
    assert (await harness.published(payment.order_id))[-1][0] == "payment.refund_failed"
    assert harness.sagas.refunds == [(failed.id, True)]
    assert harness.sagas.orders == []


async def test_the_sweep_finds_events_whose_webhooks_were_lost_and_only_once(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")

    for _ in range(2):
        await harness.sweep()
    await harness.deliver(await harness.webhook_bodies(SUCCEEDED))
    await harness.process_events()

    assert (await harness.service.check(payment.order_id, refresh=False)).status is PaymentStatus.SUCCEEDED
    assert len(harness.sagas.orders) == 1


async def test_the_sweep_reads_every_page_and_goes_on_where_it_ended(harness: PaymentHarness) -> None:
    for _ in range(55):
        payment = await harness.opened()
        await harness.service.close(payment.order_id)
    paid = [await harness.opened("pm_card_visa") for _ in range(55)]

    await harness.sweep()

    assert harness.sagas.notified_orders == {payment.order_id for payment in paid}
    [mark] = await harness.rows("SELECT swept_until FROM event_sweep")
    events = await harness.sdk.v1.events.list_async({"limit": 1, "types": [SUCCEEDED]})
    assert mark["swept_until"].timestamp() == events.data[0].created


async def test_a_cancellation_that_we_asked_for_wakes_nobody(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.service.close(payment.order_id)

    await harness.deliver(await harness.webhook_bodies())
    await harness.process_events()

    assert (await harness.rows("SELECT type, status FROM provider_events WHERE status = 'APPLIED'")) == [
        {"type": "payment_intent.canceled", "status": "APPLIED"}
    ]
    assert harness.sagas.orders == []


async def test_a_sweep_that_breaks_off_starts_again_where_it_started(harness: PaymentHarness) -> None:
    await harness.opened("pm_card_visa")
    [before] = await harness.rows("SELECT swept_until FROM event_sweep")
    harness.break_api("events.list", lose_response=1.0)
    await sweep(harness.components)
    [broken_off] = await harness.rows("SELECT swept_until, last_error FROM event_sweep")
    harness.fix_api()

    await sweep(harness.components)

    assert (broken_off["swept_until"], bool(broken_off["last_error"])) == (before["swept_until"], True)
    assert (await the_event(harness))["type"] == SUCCEEDED


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("", "missing"),
        ("t=1,v0=x", "no time or no v1"),
        ("v1=abc", "no time or no v1"),
        ("t=x,v1=abc", "no time or no v1"),
        ("rubbish", "no time or no v1"),
    ],
)
async def test_a_webhook_without_a_signature_is_refused(harness: PaymentHarness, signature: str, message: str) -> None:
    with pytest.raises(BadWebhookSignature, match=message):
        await harness.components.webhooks.receive(body=event(), signature=signature)


@pytest.mark.parametrize("age", [301, -301])
async def test_an_old_or_postdated_webhook_is_refused(harness: PaymentHarness, age: int) -> None:
    body = event()

    with pytest.raises(BadWebhookSignature, match="300 s"):
        await harness.components.webhooks.receive(body=body, signature=sign(body, age=age))

    assert await harness.event_statuses() == {}


async def test_a_forged_webhook_is_refused(harness: PaymentHarness) -> None:
    body = event()

    with pytest.raises(BadWebhookSignature, match="forged"):
        await harness.components.webhooks.receive(body=body, signature=sign(body, secret="whsec_somebody"))
    with pytest.raises(BadWebhookSignature, match="forged"):
        await harness.components.webhooks.receive(body=body + b" ", signature=sign(body))
    with pytest.raises(BadWebhookSignature, match="forged"):
        await harness.components.webhooks.receive(body=body, signature=sign(body, secret="whsec_somebody", age=301))

    assert await harness.event_statuses() == {}


async def test_webhooks_signed_with_the_previous_secret_or_with_both_are_taken(harness: PaymentHarness) -> None:
    first, second = event(), event()
    both = f"{sign(second, secret='whsec_next')},v1={sign(second, secret=WEBHOOK_SECRET).partition('v1=')[2]}"

    await harness.components.webhooks.receive(body=first, signature=sign(first, secret=PREVIOUS_SECRET))
    await harness.components.webhooks.receive(body=second, signature=both)

    assert len(await harness.rows("SELECT 1 AS one FROM provider_events")) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"not json",
        b"\xff\xfe",
        event()[:-1],
        event().replace(b'"pi_unknown"', b'"\xff"'),
        event(object="v2.core.event"),
        event(id=7),
        event(id="evt_\x00"),
        event(livemode="no"),
        event(data=[]),
        event(data={"object": []}),
        event(data={"object": {"id": 5, "object": "payment_intent", "metadata": {"app": "ordersaga"}}}),
        event(data={"object": {"id": "pi_1", "object": "charge", "metadata": {"app": "ordersaga", "order_id": 3}}}),
    ],
)
async def test_a_signed_body_that_is_no_v1_event_is_refused(harness: PaymentHarness, body: bytes) -> None:
    with pytest.raises(BadWebhookBody):
        await harness.components.webhooks.receive(body=body, signature=sign(body))

    assert await harness.event_statuses() == {}


async def test_a_v2_event_is_refused(harness: PaymentHarness) -> None:
    body = b'{"id":"evt_test","object":"v2.core.event","type":"v1.billing.meter.no_meter_found","livemode":false}'

    with pytest.raises(BadWebhookBody, match="no event of Stripe's v1 API"):
        await harness.components.webhooks.receive(body=body, signature=sign(body))


async def test_events_of_the_wrong_mode_or_of_others_are_counted_and_stored_nowhere(harness: PaymentHarness) -> None:
    foreign = {"id": "pi_1", "object": "payment_intent", "metadata": {"app": "another shop"}}
    bodies = [
        event(livemode=True),
        event(data={"object": foreign}),
        event(type="balance.available", data={"object": {"object": "balance", "available": []}}),
        event(type="customer.created", data={"object": {"id": 5, "metadata": None}}),
    ]

    await harness.deliver(bodies)

    assert await harness.event_statuses() == {}
    assert harness.components.webhooks.dropped == {"livemode": 1, "metadata": 3}


async def test_neither_client_secrets_nor_cards_are_stored_with_an_event(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_chargeDeclined")

    await harness.deliver(await harness.webhook_bodies())

    rows = await harness.rows("SELECT event::text AS stored FROM provider_events AS event")
    assert len(rows) == 3
    assert not any("_secret_" in row["stored"] or "last4" in row["stored"] for row in rows)


@pytest.mark.parametrize(
    "avoided",
    [(), ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize")],
    ids=["any-plan", "nested-loop"],
)
async def test_no_more_events_are_claimed_than_there_is_room_for(
    harness: PaymentHarness, avoided: Sequence[str]
) -> None:
    await harness.deliver([event() for _ in range(60)])

    async with harness.database.transaction() as connection:
        for plan in avoided:
            await connection.execute(f"SET LOCAL enable_{plan} = off")
        first, second = [await DUE_EVENTS.claim(connection, limit=8, lease=timedelta(seconds=30)) for _ in range(2)]

    assert (len(first), len(second)) == (8, 8)
    assert len({claimed.key for claimed in (*first, *second)}) == 16
