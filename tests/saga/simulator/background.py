"""What runs beside the payment service's calls: Stripe's webhooks, the inbox, and the follow-ups of changes.

Nothing of it runs by itself here. It happens at once where production does it at once, and otherwise when a case says
that it happens; all that would be tried again after a pause is due then. Rows are due in the order in which they came.
"""

from __future__ import annotations

from tests.saga.simulator.slot import Slot

EVENTS_ARE_DUE = "UPDATE provider_events SET next_attempt_at = received_at WHERE status = 'RECEIVED'"
FOLLOW_UPS_ARE_DUE = """
    UPDATE refunds SET next_attempt_at = created_at WHERE saga_open;
    UPDATE disputes SET next_attempt_at = created_at WHERE saga_open
"""
SOMETHING_IS_DUE = """
    SELECT 1 FROM refunds WHERE saga_open AND next_attempt_at <= now()
    UNION ALL SELECT 1 FROM disputes WHERE saga_open AND next_attempt_at <= now()
     LIMIT 1
"""
NOBODY_WAS_NOTIFIED = """
    UPDATE refunds SET notified_version = 0 WHERE saga_open;
    UPDATE disputes SET notified_version = 0 WHERE saga_open
"""


async def deliver(slot: Slot) -> list[str]:
    """Deliver Stripe's outstanding events, signed, and process all that the inbox has; the ids of the events."""
    account, payment = slot.installation.account, slot.installation.payment
    outstanding = account.deliveries.outstanding()
    for delivery in outstanding:
        event = account.deliveries.sign(delivery)
        await payment.webhooks.receive(body=event.body, signature=event.signature)
        account.deliveries.succeeded(delivery)
    slot.stripe.forget()
    await slot.databases.execute("payment", EVENTS_ARE_DUE)
    await payment.inbox.process_due()
    await follow_up(slot)
    return [delivery.event_id for delivery in outstanding]


async def have_events_to_process(slot: Slot) -> bool:
    """Whether events wait for another attempt."""
    rows = await slot.databases.rows("payment", "SELECT 1 FROM provider_events WHERE status = 'RECEIVED' LIMIT 1")
    return bool(rows)


async def follow_up(slot: Slot) -> None:
    """Start or notify the workflows of the refunds and disputes that changed."""
    if await slot.databases.rows("payment", SOMETHING_IS_DUE):
        payment = slot.installation.payment
        await payment.refund_follow_ups.process_due()
        await payment.dispute_follow_ups.process_due()


async def follow_up_all(slot: Slot) -> None:
    """Look at every refund and dispute that is open: its workflow runs, and knows how it stands."""
    await slot.databases.execute("payment", FOLLOW_UPS_ARE_DUE)
    await follow_up(slot)


async def notify_again(slot: Slot) -> None:
    """Notify the workflow of each once more, as when the note that it was notified got lost."""
    await slot.databases.execute("payment", NOBODY_WAS_NOTIFIED)
    await follow_up_all(slot)
