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
from services.payment.errors import BadWebhookBody, BadWebhookSignature
from services.payment.event_repository import EventRepository
from services.payment.stripe_port import StripeUnavailable
from tests.payment_rig import PREVIOUS_SECRET, Rig, payment_rig, sign
from tests.stripe_double import WEBHOOK_SECRET

SUCCEEDED = "payment_intent.succeeded"
FAILED = "payment_intent.payment_failed"


@pytest.fixture
async def rig(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path) as made:
        yield made


@pytest.fixture
async def impatient(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path, patience=timedelta(0)) as made:
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


async def the_event(rig: Rig) -> dict[str, Any]:
    [row] = await rig.rows("SELECT * FROM provider_events WHERE status <> 'IGNORED'")
    return row


async def test_an_event_makes_the_payment_catch_up_and_wakes_the_order(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_visa")

    await rig.deliver(await rig.webhook_bodies())
    await rig.inbox.work_off_due()

    paid = await rig.service.check(payment.order_id, refresh=False)
    assert (paid.status, paid.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)
    assert await rig.event_statuses() == {
        "payment_intent.created": "IGNORED",
        "charge.succeeded": "IGNORED",
        SUCCEEDED: "APPLIED",
    }
    applied = await the_event(rig)
    assert rig.sagas.taken == [(payment.order_id, applied["event_id"])]


async def test_doubled_and_reordered_events_are_worked_off_once_each_and_do_no_harm(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_chargeDeclined")
    await rig.customer_pays(payment, "pm_card_visa")
    bodies = await rig.webhook_bodies(SUCCEEDED, FAILED)

    for _ in range(3):
        await rig.deliver(bodies[::-1])
        await rig.inbox.work_off_due()

    paid = await rig.service.check(payment.order_id, refresh=False)
    assert (paid.status, paid.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)
    assert len(rig.sagas.taken) == 2
    seqs = [seq for _, seq, _ in await rig.published(payment.order_id)]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_decline_counts_once_though_told_as_answer_event_and_re_read(rig: Rig) -> None:
    payment = await rig.opened("pm_card_chargeDeclined")

    await rig.deliver(await rig.webhook_bodies())
    await rig.inbox.work_off_due()
    refreshed = await rig.service.check(payment.order_id, refresh=True)

    assert (payment.failed_attempts, refreshed.failed_attempts) == (1, 1)


async def test_the_inbox_works_by_itself_when_a_webhook_comes(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_visa")
    signalled = asyncio.Event()
    take = rig.sagas.payment_changed

    async def tell(*, order_id: str, event_id: str) -> None:
        await take(order_id=order_id, event_id=event_id)
        signalled.set()

    rig.sagas.payment_changed = tell  # type: ignore[method-assign]  # the recorder of this test
    working = asyncio.create_task(rig.inbox.run())

    await rig.deliver(await rig.webhook_bodies(SUCCEEDED))
    await asyncio.wait_for(signalled.wait(), 10)
    working.cancel()
    await asyncio.wait([working])

    assert (await the_event(rig))["status"] == "APPLIED"


async def test_while_temporal_is_down_events_stay_and_are_tried_again(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")
    await rig.deliver(await rig.webhook_bodies(SUCCEEDED))
    rig.sagas.down = True

    await rig.inbox.work_off_due()
    waiting = await the_event(rig)
    rig.sagas.down = False
    await rig.inbox.work_off_due()
    untouched = await the_event(rig)
    await rig.due_again()
    await rig.inbox.work_off_due()

    assert (waiting["status"], waiting["attempts"], waiting["note"]) == ("RECEIVED", 1, "Temporal: UNAVAILABLE")
    assert waiting["next_attempt_at"] - waiting["received_at"] < timedelta(seconds=30)
    assert untouched == waiting
    assert (await the_event(rig))["status"] == "APPLIED"
    assert rig.sagas.orders() == {payment.order_id}


async def test_while_stripe_is_down_events_stay_and_nobody_is_told(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_visa")
    await rig.deliver(await rig.webhook_bodies(SUCCEEDED))
    await rig.break_api("payment_intents.retrieve", error_500_before=1.0)

    await rig.inbox.work_off_due()

    assert ((await the_event(rig))["status"], rig.sagas.taken) == ("RECEIVED", [])
    await rig.mend_api()
    await rig.due_again()
    await rig.inbox.work_off_due()
    assert (await the_event(rig))["status"] == "APPLIED"


async def test_an_event_that_hangs_does_not_hold_up_a_later_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.opened("pm_card_visa")
    hanging, released, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    take = rig.sagas.payment_changed

    async def hang_once(*, order_id: str, event_id: str) -> None:
        if not hanging.is_set():
            hanging.set()
            await released.wait()
        await take(order_id=order_id, event_id=event_id)
        told.set()

    monkeypatch.setattr(rig.sagas, "payment_changed", hang_once)
    working = asyncio.create_task(rig.inbox.run())
    await rig.deliver(await rig.webhook_bodies(SUCCEEDED))
    await asyncio.wait_for(hanging.wait(), 10)

    later = await rig.opened("pm_card_visa")
    await rig.deliver(await rig.webhook_bodies(SUCCEEDED))
    await asyncio.wait_for(told.wait(), 10)

    assert rig.sagas.orders() == {later.order_id}
    released.set()
    working.cancel()
    await asyncio.wait([working])
    assert len(rig.sagas.taken) == 2


async def test_an_event_of_an_unknown_order_is_tried_again_for_a_while(rig: Rig) -> None:
    await rig.deliver([event()])

    await rig.inbox.work_off_due()
    await rig.due_again()
    await rig.inbox.work_off_due()

    unknown = await the_event(rig)
    assert (unknown["status"], unknown["attempts"]) == ("RECEIVED", 2)
    assert rig.sagas.taken == []


async def test_an_event_of_an_order_that_stays_unknown_is_flagged(impatient: Rig) -> None:
    await impatient.deliver([event()])

    await impatient.inbox.work_off_due()

    unknown = await the_event(impatient)
    assert (unknown["status"], unknown["note"]) == ("FLAGGED", "no payment has this event's intent")


async def test_an_event_of_a_second_intent_of_an_order_is_flagged(rig: Rig) -> None:
    payment = await rig.opened()
    stray = {
        "id": "pi_stray",
        "object": "payment_intent",
        "metadata": {"app": "ordersaga", "order_id": payment.order_id},
    }

    await rig.deliver([event(data={"object": stray})])
    await rig.inbox.work_off_due()

    flagged = await the_event(rig)
    assert flagged["status"] == "FLAGGED"
    assert "another intent" in flagged["note"]


async def test_late_money_on_a_voided_payment_goes_back_once(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.break_api("payment_intents.cancel", error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.void(payment.order_id)
    await rig.customer_pays(payment, "pm_card_visa")
    await rig.mend_api()

    await rig.hear(SUCCEEDED)
    [owed] = (await rig.service.check(payment.order_id, refresh=False)).refunds
    for _ in range(2):
        await rig.give_back(payment)
        await rig.service.void(payment.order_id)
        await rig.hear()

    assert rig.sagas.refunds[0] == (owed.id, True)
    assert (await rig.service.check(payment.order_id, refresh=False)).amount_refunded == 2_599
    assert len(await rig.refunds(payment)) == 1


async def test_while_temporal_is_down_late_money_is_owed_and_its_event_waits(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.break_api("payment_intents.cancel", error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.void(payment.order_id)
    await rig.customer_pays(payment, "pm_card_visa")
    rig.sagas.down = True

    await rig.hear(SUCCEEDED)
    waiting = await the_event(rig)
    rig.sagas.down = False
    await rig.due_again()
    await rig.inbox.work_off_due()

    [owed] = (await rig.service.check(payment.order_id, refresh=False)).refunds
    assert (waiting["status"], rig.sagas.refunds) == ("RECEIVED", [(owed.id, True)])
    assert (await the_event(rig))["status"] == "APPLIED"


async def test_a_refund_that_stripe_takes_back_has_failed_and_wakes_its_saga(rig: Rig) -> None:
    payment = await rig.opened("pm_card_refundFail")
    await rig.service.void(payment.order_id)
    [given_back] = (await rig.give_back(payment)).refunds
    rig.sagas.refunds.clear()

    await rig.move_refund(given_back.stripe_refund_id, "failed", failure_reason="expired_or_canceled_card")
    await rig.hear("refund.failed")

    taken_back = await rig.service.check(payment.order_id, refresh=False)
    [failed] = taken_back.refunds
    assert ((await the_event(rig))["status"], failed.status, failed.saga_open) == ("APPLIED", RefundStatus.FAILED, True)
    assert (failed.failure_reason, failed.version) == ("expired_or_canceled_card", given_back.version + 1)
    assert taken_back.amount_refunded == 0
    assert (await rig.published(payment.order_id))[-1][0] == "payment.refund_failed"
    assert rig.sagas.refunds == [(failed.id, True)]
    assert rig.sagas.taken == []


async def test_the_sweep_finds_events_whose_webhooks_were_lost_and_only_once(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_visa")

    for _ in range(2):
        await rig.sweep.sweep()
        await rig.inbox.work_off_due()
    await rig.deliver(await rig.webhook_bodies(SUCCEEDED))
    await rig.inbox.work_off_due()

    assert (await rig.service.check(payment.order_id, refresh=False)).status is PaymentStatus.SUCCEEDED
    assert len(rig.sagas.taken) == 1


async def test_the_sweep_reads_every_page_and_goes_on_where_it_ended(rig: Rig) -> None:
    for _ in range(55):
        payment = await rig.opened()
        await rig.service.close(payment.order_id)
    paid = [await rig.opened("pm_card_visa") for _ in range(55)]

    await rig.sweep.sweep()
    await rig.inbox.work_off_due()

    assert rig.sagas.orders() == {payment.order_id for payment in paid}
    [mark] = await rig.rows("SELECT swept_until FROM event_sweep")
    events = await rig.sdk.v1.events.list_async({"limit": 1, "types": [SUCCEEDED]})
    assert mark["swept_until"].timestamp() == events.data[0].created


async def test_a_cancellation_that_we_asked_for_wakes_nobody(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.service.close(payment.order_id)

    await rig.deliver(await rig.webhook_bodies())
    await rig.inbox.work_off_due()

    assert (await rig.rows("SELECT type, status FROM provider_events WHERE status = 'APPLIED'")) == [
        {"type": "payment_intent.canceled", "status": "APPLIED"}
    ]
    assert rig.sagas.taken == []


async def test_a_sweep_that_breaks_off_starts_again_where_it_started(rig: Rig) -> None:
    await rig.opened("pm_card_visa")
    await rig.break_api("events.list", lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.sweep.sweep()
    await rig.mend_api()

    await rig.sweep.sweep()

    assert (await the_event(rig))["type"] == SUCCEEDED


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
async def test_a_webhook_without_a_signature_is_refused(rig: Rig, signature: str, message: str) -> None:
    with pytest.raises(BadWebhookSignature, match=message):
        await rig.intake.receive_webhook(body=event(), signature=signature)


@pytest.mark.parametrize("age", [301, -301])
async def test_an_old_or_postdated_webhook_is_refused(rig: Rig, age: int) -> None:
    body = event()

    with pytest.raises(BadWebhookSignature, match="300 s"):
        await rig.intake.receive_webhook(body=body, signature=sign(body, age=age))

    assert await rig.event_statuses() == {}


async def test_a_forged_webhook_is_refused(rig: Rig) -> None:
    body = event()

    with pytest.raises(BadWebhookSignature, match="forged"):
        await rig.intake.receive_webhook(body=body, signature=sign(body, secret="whsec_somebody"))
    with pytest.raises(BadWebhookSignature, match="forged"):
        await rig.intake.receive_webhook(body=body + b" ", signature=sign(body))
    with pytest.raises(BadWebhookSignature, match="forged"):
        await rig.intake.receive_webhook(body=body, signature=sign(body, secret="whsec_somebody", age=301))

    assert await rig.event_statuses() == {}


async def test_webhooks_signed_with_the_previous_secret_or_with_both_are_taken(rig: Rig) -> None:
    first, second = event(), event()
    both = f"{sign(second, secret='whsec_next')},v1={sign(second, secret=WEBHOOK_SECRET).partition('v1=')[2]}"

    await rig.intake.receive_webhook(body=first, signature=sign(first, secret=PREVIOUS_SECRET))
    await rig.intake.receive_webhook(body=second, signature=both)

    assert len(await rig.rows("SELECT 1 AS one FROM provider_events")) == 2


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
async def test_a_signed_body_that_is_no_v1_event_is_refused(rig: Rig, body: bytes) -> None:
    with pytest.raises(BadWebhookBody):
        await rig.intake.receive_webhook(body=body, signature=sign(body))

    assert await rig.event_statuses() == {}


async def test_a_v2_event_is_refused(rig: Rig) -> None:
    body = b'{"id":"evt_test","object":"v2.core.event","type":"v1.billing.meter.no_meter_found","livemode":false}'

    with pytest.raises(BadWebhookBody, match="no event of Stripe's v1 API"):
        await rig.intake.receive_webhook(body=body, signature=sign(body))


async def test_events_of_the_wrong_mode_or_of_others_are_counted_and_stored_nowhere(rig: Rig) -> None:
    foreign = {"id": "pi_1", "object": "payment_intent", "metadata": {"app": "another shop"}}
    bodies = [
        event(livemode=True),
        event(data={"object": foreign}),
        event(type="balance.available", data={"object": {"object": "balance", "available": []}}),
        event(type="customer.created", data={"object": {"id": 5, "metadata": None}}),
    ]

    await rig.deliver(bodies)

    assert await rig.event_statuses() == {}
    assert rig.intake.dropped == {"livemode": 1, "metadata": 3}


async def test_neither_client_secrets_nor_cards_are_stored_with_an_event(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_chargeDeclined")

    await rig.deliver(await rig.webhook_bodies())

    rows = await rig.rows("SELECT payload FROM provider_events")
    assert len(rows) == 3
    assert not any("_secret_" in row["payload"] or "last4" in row["payload"] for row in rows)


@pytest.mark.parametrize(
    "avoided",
    [(), ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize")],
    ids=["any-plan", "nested-loop"],
)
async def test_no_more_events_are_claimed_than_there_is_room_for(rig: Rig, avoided: Sequence[str]) -> None:
    await rig.deliver([event() for _ in range(60)])

    async with rig.database.transaction() as connection:
        for plan in avoided:
            await connection.execute(f"SET LOCAL enable_{plan} = off")
        repository = EventRepository(connection)
        first = await repository.claim_due(limit=8, lease=timedelta(seconds=30))
        second = await repository.claim_due(limit=8, lease=timedelta(seconds=30))

    assert (len(first), len(second)) == (8, 8)
    assert len({claimed.event_id for claimed in (*first, *second)}) == 16
