"""Stripe's events: what happened to an object, with the object as it was then (https://docs.stripe.com/api/events)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from sandbox.stripe.resources import Resource


class EventType(StrEnum):
    """The events that this double sends (https://docs.stripe.com/api/events/types)."""

    INTENT_CREATED = "payment_intent.created"
    INTENT_REQUIRES_ACTION = "payment_intent.requires_action"
    INTENT_PROCESSING = "payment_intent.processing"
    INTENT_AMOUNT_CAPTURABLE_UPDATED = "payment_intent.amount_capturable_updated"
    INTENT_PAYMENT_FAILED = "payment_intent.payment_failed"
    INTENT_SUCCEEDED = "payment_intent.succeeded"
    INTENT_CANCELED = "payment_intent.canceled"
    CHARGE_PENDING = "charge.pending"
    CHARGE_SUCCEEDED = "charge.succeeded"
    CHARGE_FAILED = "charge.failed"
    CHARGE_CAPTURED = "charge.captured"
    CHARGE_REFUNDED = "charge.refunded"
    CHARGE_REFUND_UPDATED = "charge.refund.updated"
    DISPUTE_CREATED = "charge.dispute.created"
    DISPUTE_UPDATED = "charge.dispute.updated"
    DISPUTE_CLOSED = "charge.dispute.closed"
    DISPUTE_FUNDS_WITHDRAWN = "charge.dispute.funds_withdrawn"
    DISPUTE_FUNDS_REINSTATED = "charge.dispute.funds_reinstated"
    REFUND_CREATED = "refund.created"
    REFUND_UPDATED = "refund.updated"
    REFUND_FAILED = "refund.failed"


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """The object as it was when the event happened."""

    object: msgspec.Raw


class EventRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The call that made the event happen; without an id when no call of the account's did, but a bank."""

    id: str | None = None
    idempotency_key: str | None = None


class Event(Resource, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/events/object"""

    noun = "event"
    prefix = "evt"

    type: EventType
    api_version: str
    data: EventData
    request: EventRequest
    object: str = "event"
    livemode: bool = False
    pending_webhooks: int = 0

    @property
    def list_key(self) -> str:
        """Events are listed by their type."""
        return self.type
