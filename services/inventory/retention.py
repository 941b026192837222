"""What of the inventory database is no history, and for how long it is kept. The ledger and the reservations stay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from runtime.outbox import outbox_rule
from runtime.retention import Rule
from runtime.settings import Settings


def rules(settings: Settings) -> Sequence[Rule]:
    """Of the tables from which rows are deleted."""
    return [outbox_rule(timedelta(seconds=settings.outbox_retention))]
