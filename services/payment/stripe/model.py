"""What the service sees of Stripe: frozen values in our units and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A payment intent as it was when it was read."""

    id: str
    status: PaymentStatus
    amount_received: int
    """Minor units of `currency`."""
    currency: str
    may_have_failed_charges: bool
    """Never said of one that succeeded: it does not show whether its last charge was its first."""
    client_secret: str | None = field(default=None, repr=False, compare=False)
    """Lets whoever has it pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCharge:
    """One charge that failed; or an authentication that did, before anything was charged."""

    charge_id: str
    """Of an authentication, which has no charge, its event's id."""
    decline_code: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeRefund:
    """A refund as it was when it was read: PENDING, SUCCEEDED, FAILED or CANCELLED."""

    id: str
    status: RefundStatus
    failure_reason: str | None
    amount: int
    """Minor units of `currency`."""
    currency: str
    created_at: datetime
    refund_id: str | None
    """Ours, unless it was made at Stripe's side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeDispute:
    """A dispute as it was when it was read."""

    id: str
    status: DisputeStatus
    reason: str
    amount: int
    """Minor units of `currency`."""
    currency: str
    withdrawn: int
    """What Stripe holds or took because of it."""
    respond_by: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """Where Stripe sends events to, as it was when it was read."""

    id: str
    url: str
    is_enabled: bool
    enabled_events: frozenset[str]
    """Types of event; ``*`` stands for all."""
    api_version: str | None
    """What its events are rendered for, for good; None is whatever the account has."""
    secret: str | None = field(repr=False)
    """What its events are signed with; Stripe shows it to whoever makes the endpoint, and never again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeEvent:
    """An event: what of it concerns us.

    Refunds and disputes that begin at Stripe's side have no metadata of ours: their events are ours if the intent is.
    """

    id: str
    type: str
    created: int
    """Unix seconds, by Stripe's clock."""
    livemode: bool
    has_our_metadata: bool
    intent_id: str | None = None
    order_id: str | None = None
    is_failed_authentication: bool = False
    """Whether the customer failed at their bank (3-D Secure), so that nothing was charged."""
