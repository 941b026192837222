"""What of the payment database is no history, and for how long it is kept.

Payments stay, with their attempts, refunds, approvals and disputes. When a payment was in which state only its events
say, so what a timeline tells of them moves to `payment_history` when their outbox rows are deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString

from runtime.idempotency import key_rule
from runtime.outbox import outbox_rule
from runtime.retention import Rule, delete_by_age
from runtime.rows import columns
from runtime.settings import Settings
from services.payment.tables import PublishedStatusColumns

PUBLISHED: Final[LiteralString] = """
    at, ce_type AS type, data::json ->> 'status' AS status,
    nullif(data::json ->> 'refundId', '') AS refund_id,
    nullif(data::json ->> 'disputeId', '') AS dispute_id,
    nullif(data::json ->> 'disputeStatus', '') AS dispute_status
"""
"""What an outbox row says of its payment: `PublishedStatusColumns`."""

_ARCHIVE: Final[LiteralString] = f"""
    INSERT INTO payment_history (payment_id, seq, {columns(PublishedStatusColumns)})
    SELECT payment_id, ce_seq, {columns(PublishedStatusColumns)}
      FROM (SELECT split_part(ce_id, ':', 2)::uuid AS payment_id, ce_seq, {PUBLISHED}
              FROM gone WHERE ce_id LIKE 'payment:%%') AS said
     WHERE refund_id IS NOT NULL OR dispute_id IS NOT NULL OR status IN ('PROCESSING', 'SUCCEEDED', 'CANCELLED')
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - put together from constants


def rules(settings: Settings) -> Sequence[Rule]:
    """Of the tables from which rows are deleted.

    Stripe sends an event again for days, and lists it for 30. One that comes when its row is gone is stored and
    processed as if it were new, and changes nothing: it only makes us read again what Stripe has, and a failed
    authentication, which is counted by its event, is in `payment_attempts` for good. An event that waits, or is
    flagged, stays until it is done, or a person has dismissed it.
    """
    return [
        outbox_rule(timedelta(seconds=settings.outbox_retention), archive=_ARCHIVE),
        key_rule(timedelta(seconds=settings.idempotency_key_retention)),
        delete_by_age(
            "provider_events",
            at="processed_at",
            among="status IN ('APPLIED', 'IGNORED')",
            kept=timedelta(seconds=settings.provider_event_retention),
        ),
    ]
