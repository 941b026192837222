"""Which webhooks are refused, and what cannot be done about an event."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused
from services.payment.tables import EventStatus


class BadWebhookSignature(Refused):
    """A webhook is not signed by Stripe, or not recently."""

    refusal = Refusal.BAD_WEBHOOK_SIGNATURE
    code = grpc.StatusCode.INVALID_ARGUMENT


class BadWebhookBody(Refused):
    """A signed webhook holds no v1 event."""

    refusal = Refusal.BAD_WEBHOOK_BODY
    code = grpc.StatusCode.INVALID_ARGUMENT


class EventNotFound(Refused):
    """Stripe's event is not known here."""

    refusal = Refusal.EVENT_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, event_id: str) -> None:
        super().__init__(f"there is no event {event_id}", event_id=event_id)


class EventDone(Refused):
    """Nothing is left to do about the event."""

    refusal = Refusal.EVENT_DONE

    def __init__(self, event_id: str, status: EventStatus, note: str) -> None:
        why = f": {note}" if note else ""
        super().__init__(f"event {event_id} is {status}{why}", event_id=event_id, status=status.value)
