"""What of the tables people on call are told beside the payment itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A failed charge; `decline_code` is Stripe's, where it gave one."""

    charge_id: str
    decline_code: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event of Stripe's about an order, and what became of it."""

    event_id: str
    type: str
    status: str
    note: str
    last_error: str | None
    attempts: int
    received_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedStatus:
    """What one of the payment's own events said of it, in the words of the release that published it.

    Attributes:
        refund_id: of the refund that the event was about; None where it was about none.
        dispute_id: likewise of the dispute.
    """

    at: datetime
    type: str
    status: str
    refund_id: str | None
    dispute_id: str | None
    dispute_status: str | None
