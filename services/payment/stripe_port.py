"""What the service sees of Stripe: frozen values in our units and words, and the ways in which a call can fail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundStatus
from runtime.refusal import Unavailable

APP: Final = "ordersaga"
"""Our mark in the metadata of everything that we make at Stripe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A payment intent as it was when it was read."""

    id: str
    status: PaymentStatus
    amount_received: int
    """Minor units of `currency`."""
    currency: str
    may_have_failed_charges: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCharge:
    """One charge that failed."""

    id: str
    decline_code: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRefund:
    """A refund that Stripe has: PENDING, SUCCEEDED, FAILED or CANCELED."""

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
class FoundDispute:
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


class StripeUnavailable(Unavailable):
    """No usable answer; what the call did is unknown. The same call with the same key may be repeated."""


class StripeKeySpent(StripeUnavailable):
    """The idempotency key stands for a failure, a refusal that has passed, or another request: repeating cannot help.

    Look for what it made before the next generation's key is used.
    """


class StripeRefused(Exception):
    """Stripe refused the request itself; the message is Stripe's own, meant for whoever made the request."""


class StripeChargeDisputed(StripeRefused):
    """A dispute holds the money, or took it for good: it cannot be refunded."""


class StripeUnexpectedState(StripeRefused):
    """The intent's status forbids the call: it has moved on since it was read."""


class StripeDeclined(Exception):
    """The charge failed: an answer, whose details a re-read of the intent tells."""
