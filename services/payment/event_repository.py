"""SQL of the inbox of provider events. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runtime.database import Connection, encode_rows
from services.payment.events import ProviderEvent
from services.payment.tables import EventStatus

_SWEEP: Final = "stripe"

_ADD: Final = """
    INSERT INTO provider_events (event_id, type, intent_id, order_id, payload, received_at, status, note, attempts,
                                 next_attempt_at, processed_at)
    SELECT event_id, type, intent_id, order_id, payload, now(), status, note, 0, now(),
           CASE status WHEN 'RECEIVED' THEN NULL ELSE now() END
      FROM json_to_recordset(%(events)s::json) AS event (
           event_id text, type text, intent_id text, order_id uuid, payload text, status text, note text)
    ON CONFLICT DO NOTHING
"""
# MATERIALIZED: what is due in a subquery may be looked for once per row of the table, and find others each time, since
# those that were found before are changed by then; so more than the limit would be claimed.
_CLAIM: Final = """
    WITH due AS MATERIALIZED (
        SELECT event_id FROM provider_events
         WHERE status = 'RECEIVED' AND next_attempt_at <= now()
         ORDER BY next_attempt_at
         LIMIT %(limit)s
           FOR UPDATE SKIP LOCKED
    )
    UPDATE provider_events
       SET attempts = attempts + 1, next_attempt_at = now() + %(lease)s
      FROM due
     WHERE provider_events.event_id = due.event_id
    RETURNING provider_events.event_id, type, intent_id, order_id, attempts, now() - received_at AS age
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEvent:
    """A stored event that is being worked off."""

    event_id: str
    type: str
    intent_id: str | None
    order_id: str | None
    attempts: int
    """This one included."""
    age: timedelta
    """Since it was stored."""


class EventRepository:
    """Provider events and the sweep's mark, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, events: Sequence[ProviderEvent]) -> int:
        """Store the events that are not known yet; how many those were. What tells nothing is IGNORED at once."""
        rows = [
            {
                "event_id": event.id,
                "type": event.type,
                "intent_id": event.intent_id,
                "order_id": event.order_id,
                "payload": event.payload,
                "status": EventStatus.RECEIVED if event.is_telling else EventStatus.IGNORED,
                "note": "" if event.is_telling else "another event tells the same of the payment",
            }
            for event in events
        ]
        return await self._connection.execute(_ADD, events=encode_rows(rows))

    async def find_known_intents(self, intent_ids: Sequence[str]) -> frozenset[str]:
        """Those of the intents that payments of ours have."""
        rows: list[dict[str, str]] = await self._connection.fetch_all(
            dict,
            "SELECT intent_id FROM payments WHERE intent_id = ANY(%(intent_ids)s)",
            intent_ids=list(intent_ids),
        )
        return frozenset(row["intent_id"] for row in rows)

    async def claim_due(self, *, limit: int, lease: timedelta) -> list[InboxEvent]:
        """Take events that are due. Nobody else gets them before the lease ends; one of a dead process is due then."""
        return await self._connection.fetch_all(InboxEvent, _CLAIM, limit=limit, lease=lease)

    async def finish(self, event_id: str, status: EventStatus, *, note: str) -> None:
        """End the work on an event."""
        await self._connection.execute(
            """
            UPDATE provider_events SET status = %(status)s, note = %(note)s, processed_at = now()
             WHERE event_id = %(event_id)s
            """,
            event_id=event_id,
            status=status,
            note=note,
        )

    async def postpone(self, event_id: str, *, delay: timedelta, note: str) -> None:
        """Take an event up again after `delay`."""
        await self._connection.execute(
            """
            UPDATE provider_events SET next_attempt_at = now() + %(delay)s, note = %(note)s
             WHERE event_id = %(event_id)s
            """,
            event_id=event_id,
            delay=delay,
            note=note,
        )

    async def start_sweep(self, *, first_look: timedelta) -> datetime:
        """Up to which of Stripe's times its events were read; at the very first, `first_look` ago."""
        await self._connection.execute(
            """
            INSERT INTO event_sweep (name, swept_until) VALUES (%(name)s, now() - %(first_look)s)
            ON CONFLICT DO NOTHING
            """,
            name=_SWEEP,
            first_look=first_look,
        )
        swept_until: datetime = await self._connection.fetch_value(
            "SELECT swept_until FROM event_sweep WHERE name = %(name)s", name=_SWEEP
        )
        return swept_until

    async def end_sweep(self, swept_until: datetime) -> None:
        """Move the mark; never back."""
        await self._connection.execute(
            """
            UPDATE event_sweep SET swept_until = greatest(swept_until, %(swept_until)s) WHERE name = %(name)s
            """,
            name=_SWEEP,
            swept_until=swept_until,
        )
