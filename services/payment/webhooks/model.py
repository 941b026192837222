"""Stripe's events as they are stored until they have been processed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


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
