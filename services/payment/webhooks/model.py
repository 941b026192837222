"""Stripe's events as they are stored until they have been processed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.payment.tables import EventStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """A stored event that is to be processed; `age` is since it was stored, at `received_at`."""

    event_id: str
    type: str
    intent_id: str | None
    order_id: str | None
    is_failed_authentication: bool
    received_at: datetime
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """What became of an event so far; `last_error` is why the last attempt failed since it was let be due."""

    status: EventStatus
    note: str
    last_error: str | None

    @property
    def has_ended(self) -> bool:
        """Whether it was processed, in vain or not."""
        return self.status is not EventStatus.RECEIVED or self.last_error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepMark:
    """Up to which of Stripe's times its events were read; `behind` is how far that is from now."""

    swept_until: datetime
    behind: timedelta
