"""What of the order database is no history, and for how long it is kept.

Orders stay, with all that says what became of them and who did it: lines, adjustments, transitions, refunds, requests
to cancel, guests, concerns that were cleared, actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from runtime.idempotency import key_rule
from runtime.outbox import outbox_rule
from runtime.retention import Rule
from runtime.settings import Settings


def rules(settings: Settings) -> Sequence[Rule]:
    """Of the tables from which rows are deleted.

    An order whose key is gone is placed a second time by a client that repeats the request: after a day at the least,
    as at Stripe. A transition whose event is gone is known by that to the audit.
    """
    return [
        outbox_rule(timedelta(seconds=settings.outbox_retention)),
        key_rule(timedelta(seconds=settings.idempotency_key_retention)),
    ]
