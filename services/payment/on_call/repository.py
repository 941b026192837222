"""SQL of what people on call are told. Every method is one statement on the caller's connection.

What stands still is found by partial indexes that hold nothing else, so that a look costs the same however many
payments there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, LiteralString

from domain.concerns import FLAGGED_STEP, WAITING_STEP, ConcernKind
from runtime.database import Connection
from runtime.on_call import Concern
from runtime.rows import columns
from services.payment.on_call.model import Attempt, PublishedStatus, ReceivedEvent
from services.payment.payments.repository import FollowedTable
from services.payment.retention import PUBLISHED
from services.payment.tables import PublishedStatusColumns

_EVENT: Final[LiteralString] = """
    event_id AS subject_id, type AS event_type, attempts, last_error,
           coalesce(event.order_id, payments.order_id) AS order_id
      FROM provider_events AS event LEFT JOIN payments USING (intent_id)
"""
WAITING_EVENTS: Final = f"""
    SELECT received_at AS since, {_EVENT}
     WHERE event.status = 'RECEIVED' AND attempts > 1 AND received_at < now() - %(older_than)s::interval
     ORDER BY received_at LIMIT %(most)s
"""
"""More than one attempt begun is at least one that failed, also while the next one runs."""
FLAGGED_EVENTS: Final = f"""
    SELECT processed_at AS since, {_EVENT}
     WHERE event.status = 'FLAGGED' ORDER BY processed_at LIMIT %(most)s
"""


def failing_follow_ups(table: FollowedTable) -> LiteralString:
    """Refunds or disputes whose workflow can be neither started nor notified."""
    return f"""
        SELECT followed.id::text AS subject_id, order_id, failing_since AS since, attempts, last_error
          FROM {table} AS followed JOIN payments ON payments.id = payment_id
         WHERE saga_open AND failing_since < now() - %(older_than)s::interval
         ORDER BY failing_since LIMIT %(most)s
    """  # noqa: S608 - put together from constants


_KINDS: Final[dict[FollowedTable, ConcernKind]] = {"refunds": ConcernKind.REFUND, "disputes": ConcernKind.DISPUTE}


class OnCallRepository:
    """What stands still, and what is kept of an order beside its payment, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_waiting_events(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """Stripe's events that fail again and again, the oldest first."""
        make = partial(_to_concern, WAITING_STEP)
        return await self._connection.fetch_all(make, WAITING_EVENTS, older_than=older_than, most=most)

    async def find_flagged_events(self, *, most: int) -> list[Concern]:
        """Stripe's events that can never be processed as things stand, the oldest first."""
        return await self._connection.fetch_all(partial(_to_concern, FLAGGED_STEP), FLAGGED_EVENTS, most=most)

    async def find_failing_follow_ups(self, table: FollowedTable, *, older_than: timedelta, most: int) -> list[Concern]:
        """Refunds or disputes whose workflow cannot be reached, the oldest first."""

        def to_concern(
            *, subject_id: str, order_id: str, since: datetime, attempts: int, last_error: str | None
        ) -> Concern:
            return Concern(
                kind=_KINDS[table],
                subject_id=subject_id,
                step=WAITING_STEP,
                order_id=order_id,
                cause="its workflow can be neither started nor notified",
                since=since,
                attempts=attempts,
                last_error=last_error,
            )

        statement = failing_follow_ups(table)
        return await self._connection.fetch_all(to_concern, statement, older_than=older_than, most=most)

    async def find_attempts(self, payment_id: str) -> list[Attempt]:
        """The payment's failed charges, oldest first."""
        return await self._connection.fetch_all(
            Attempt,
            """
            SELECT charge_id, decline_code, at FROM payment_attempts WHERE payment_id = %(payment_id)s
             ORDER BY at, charge_id
            """,
            payment_id=payment_id,
        )

    async def find_events(self, *, order_id: str, intent_id: str | None) -> list[ReceivedEvent]:
        """Stripe's events about the order or its intent, oldest first."""
        return await self._connection.fetch_all(
            ReceivedEvent,
            """
            SELECT event_id, type, status, note, last_error, attempts, received_at, processed_at
              FROM provider_events WHERE order_id = %(order_id)s OR intent_id = %(intent_id)s
             ORDER BY received_at, event_id
            """,
            order_id=order_id,
            intent_id=intent_id,
        )

    async def find_event_horizon(self, *, since: datetime) -> datetime | None:
        """Up to when Stripe's events have been deleted, unless none of what began at that moment can be among them."""
        horizon: datetime | None = await self._connection.fetch_value(
            "SELECT horizon FROM retention WHERE name = 'provider_events' AND horizon >= %(since)s", since=since
        )
        return horizon

    async def find_published(self, payment_id: str, ids: Sequence[str]) -> list[PublishedStatus]:
        """What events of the payment said, oldest first; `ids` are those that may still be in the outbox."""
        return await self._connection.fetch_all(
            PublishedStatus,
            f"""
            SELECT {columns(PublishedStatusColumns)} FROM (
                SELECT seq, {columns(PublishedStatusColumns)} FROM payment_history WHERE payment_id = %(payment_id)s
                UNION ALL
                SELECT ce_seq, {PUBLISHED} FROM outbox WHERE ce_id = ANY(%(ids)s)) AS said
             ORDER BY seq
            """,  # noqa: S608 - put together from constants
            payment_id=payment_id,
            ids=list(ids),
        )


def _to_concern(
    step: str,
    /,
    *,
    subject_id: str,
    event_type: str,
    order_id: str | None,
    since: datetime,
    attempts: int,
    last_error: str | None,
) -> Concern:
    cannot = "can never be processed as things stand" if step == FLAGGED_STEP else "cannot be processed"
    return Concern(
        kind=ConcernKind.EVENT,
        subject_id=subject_id,
        step=step,
        order_id=order_id,
        cause=f"Stripe's {event_type} {cannot}",
        since=since,
        attempts=attempts,
        last_error=last_error,
    )
