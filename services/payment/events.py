"""Stripe's events: what of one concerns us, and what of it may be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from domain.ids import is_id
from services.payment.errors import BadWebhookBody
from services.payment.event_types import DISPUTE_TYPES, REFUND_TYPES, TELLING_TYPES
from services.payment.stripe_port import APP

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


class _Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be kept of the event's object: no client secret, no personal data."""

    id: _Word
    object: _Word
    metadata: dict[str, str] | None = None
    status: str | None = None
    amount: int | None = None
    amount_received: int | None = None
    currency: str | None = None
    payment_intent: _Word | None = None
    latest_charge: _Word | None = None


class _Kept(msgspec.Struct, frozen=True):
    created: int
    object: _Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """An event of Stripe's; one that is not `ours` tells nothing more than its mode.

    Refunds and disputes that begin at Stripe's side have no metadata of ours: theirs are ours if the intent is.
    """

    id: str
    type: str
    created: int
    """Unix seconds, by Stripe's clock."""
    livemode: bool
    ours: bool
    intent_id: str | None = None
    order_id: str | None = None
    payload: str = ""

    @property
    def is_telling(self) -> bool:
        """Whether the payment is worth a re-read."""
        return self.type in TELLING_TYPES


def parse_event(body: bytes) -> ProviderEvent:
    """Read a webhook's body.

    Raises:
        BadWebhookBody: it is no event of Stripe's v1 API.
    """
    try:
        return _to_event(msgspec.json.decode(body.decode(), type=_Envelope))
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadWebhookBody(f"the body is no event of Stripe's v1 API: {error}") from None


def convert_event(listed: dict[str, Any]) -> ProviderEvent:
    """Read an event that came from Stripe's list.

    Raises:
        BadWebhookBody: it is no event of Stripe's v1 API.
    """
    try:
        return _to_event(msgspec.convert(listed, _Envelope))
    except msgspec.ValidationError as error:
        raise BadWebhookBody(f"no event of Stripe's v1 API: {error}") from None


def _to_event(envelope: _Envelope) -> ProviderEvent:
    event = ProviderEvent(
        id=envelope.id, type=envelope.type, created=envelope.created, livemode=envelope.livemode, ours=False
    )
    metadata = envelope.data.object.get("metadata")
    is_ours = isinstance(metadata, dict) and metadata.get("app") == APP
    if not is_ours and not envelope.type.startswith((REFUND_TYPES, DISPUTE_TYPES)):
        return event
    subject = msgspec.convert(envelope.data.object, _Subject)
    order_id = (subject.metadata or {}).get("order_id", "") if is_ours else ""
    return ProviderEvent(
        id=event.id,
        type=event.type,
        created=event.created,
        livemode=event.livemode,
        ours=is_ours,
        intent_id=subject.id if subject.object == "payment_intent" else subject.payment_intent,
        order_id=order_id if is_id(order_id) else None,
        payload=msgspec.json.encode(_Kept(created=envelope.created, object=subject)).decode(),
    )
