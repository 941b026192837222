"""What of the product database is no history, and for how long it is kept. Products stay, deleted ones too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from runtime.idempotency import key_rule
from runtime.outbox import outbox_rule
from runtime.retention import Rule
from runtime.settings import Settings


def rules(settings: Settings) -> Sequence[Rule]:
    """Of the tables from which rows are deleted."""
    return [
        outbox_rule(timedelta(seconds=settings.outbox_retention)),
        key_rule(timedelta(seconds=settings.idempotency_key_retention)),
    ]
