"""What of the tables people on call are told beside the payment itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtime.rows import Value
from services.payment.tables import PublishedStatusColumns


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


class PublishedStatus(Value, PublishedStatusColumns):
    """What one of the payment's own events said of it."""
