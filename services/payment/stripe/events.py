"""Stripe's events, as webhooks and Stripe's list bring them: checked, and reduced to what concerns us."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from domain.ids import is_id
from services.payment.stripe.errors import UnreadableEvent
from services.payment.stripe.event_types import AUTHENTICATION_FAILED, CHARGE_FAILED, DISPUTE_TYPES, REFUND_TYPES
from services.payment.stripe.model import StripeEvent

_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.\-]{1,255}\Z")]


class _Data(msgspec.Struct, frozen=True):
    object: dict[str, Any]


class _Envelope(msgspec.Struct, frozen=True):
    id: _Word
    object: Literal["event"]
    type: _Word
    created: int
    livemode: bool
    data: _Data


class _PaymentError(msgspec.Struct, frozen=True):
    code: str | None = None
    charge: str | None = None


class _Subject(msgspec.Struct, frozen=True):
    """The event's object: whatever it is, it says of which intent."""

    id: _Word
    object: _Word
    metadata: dict[str, str] | None = None
    payment_intent: _Word | None = None
    last_payment_error: _PaymentError | None = None


def parse_event(body: bytes, *, app: str) -> StripeEvent:
    """Read a webhook's body; what bears the mark `app` is ours.

    Raises:
        UnreadableEvent: it is no event of Stripe's v1 API.
    """
    try:
        return _to_event(msgspec.json.decode(body.decode(), type=_Envelope), app)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UnreadableEvent(f"the body is no event of Stripe's v1 API: {error}") from None


def convert_event(listed: dict[str, Any], *, app: str) -> StripeEvent:
    """Read an event that came from Stripe's list; what bears the mark `app` is ours.

    Raises:
        UnreadableEvent: it is no event of Stripe's v1 API.
    """
    try:
        return _to_event(msgspec.convert(listed, _Envelope), app)
    except msgspec.ValidationError as error:
        raise UnreadableEvent(f"no event of Stripe's v1 API: {error}") from None


def _to_event(envelope: _Envelope, app: str) -> StripeEvent:
    metadata = envelope.data.object.get("metadata")
    is_ours = isinstance(metadata, dict) and metadata.get("app") == app
    intent_id = order_id = error = None
    if is_ours or envelope.type.startswith((REFUND_TYPES, DISPUTE_TYPES)):
        subject = msgspec.convert(envelope.data.object, _Subject)
        intent_id = subject.id if subject.object == "payment_intent" else subject.payment_intent
        error = subject.last_payment_error if envelope.type == CHARGE_FAILED else None
        order_id = (subject.metadata or {}).get("order_id", "") if is_ours else ""
    return StripeEvent(
        id=envelope.id,
        type=envelope.type,
        created=envelope.created,
        livemode=envelope.livemode,
        has_our_metadata=is_ours,
        intent_id=intent_id,
        order_id=order_id if order_id and is_id(order_id) else None,
        is_failed_authentication=error is not None and error.code == AUTHENTICATION_FAILED and error.charge is None,
    )
