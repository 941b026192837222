"""SQL of the inbox of provider events. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, LiteralString

from runtime.database import Connection, encode_rows
from runtime.due_work import Claimed, DueTable, Stored
from runtime.rows import columns, recordset
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.stripe.model import StripeEvent
from services.payment.tables import EventStatus, ProviderEventRow
from services.payment.webhooks.model import ProviderEvent, StoredEvent, SweepMark

DUE_EVENTS: Final = DueTable(
    table="provider_events",
    key="event_id",
    pending="status = 'RECEIVED'",
    columns="event_id, type, intent_id, order_id, is_failed_authentication, received_at, now() - received_at AS age",
    make=ProviderEvent,
    dead_letter="status = 'FLAGGED', note = %(error)s, processed_at = now()",
)

DUE_SWEEP: Final = DueTable(
    table="event_sweep",
    key="name",
    pending="true",
    columns="claimed.swept_until, now() - claimed.swept_until AS behind",
    make=SweepMark,
)
"""One row, so that one process sweeps at a time."""

_IGNORED: Final = "another event says the same of the payment"
_SET_BY_US: Final = {"received_at", "processed_at", "next_attempt_at", "last_error", "traceparent"}
_GIVEN: Final = columns(ProviderEventRow, without=_SET_BY_US)
_ADD: Final = f"""
    WITH added AS (
        INSERT INTO provider_events ({_GIVEN}, received_at, next_attempt_at, processed_at, traceparent)
        SELECT {_GIVEN}, now(), now() + attempts * %(lease)s::interval,
               CASE status WHEN 'RECEIVED' THEN NULL ELSE now() END, %(traceparent)s::text
          FROM json_to_recordset(%(events)s::json) AS {recordset(ProviderEventRow, alias="event", without=_SET_BY_US)}
        ON CONFLICT DO NOTHING
        RETURNING *
    ),
    claimed AS (SELECT * FROM added WHERE status = 'RECEIVED')
    {DUE_EVENTS.select_claimed}
"""  # noqa: S608 - put together from constants

_FINISH: Final = f"""
    UPDATE provider_events SET status = 'APPLIED', note = %(note)s, processed_at = now()
     WHERE {DUE_EVENTS.still_claimed}
"""  # noqa: S608 - put together from constants

_END_SWEEP: Final = f"""
    UPDATE event_sweep
       SET swept_until = greatest(swept_until, %(swept_until)s), next_attempt_at = now() + %(pause)s, attempts = 0,
           last_error = NULL
     WHERE {DUE_SWEEP.still_claimed}
"""  # noqa: S608 - put together from constants


class EventRepository:
    """Provider events and the sweep's mark, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, events: Sequence[StripeEvent], *, claims: int, lease: timedelta) -> Stored[ProviderEvent]:
        """Store the events that are not known yet, and claim those among the first so many.

        What is not handled is IGNORED at once.
        """
        handled = [event for event in events if event.type in HANDLED_EVENT_TYPES]
        rows = [
            {**_to_row(event), "status": EventStatus.RECEIVED, "note": "", "attempts": int(number < claims)}
            for number, event in enumerate(handled)
        ]
        rows += [
            {**_to_row(event), "status": EventStatus.IGNORED, "note": _IGNORED, "attempts": 0}
            for event in events
            if event.type not in HANDLED_EVENT_TYPES
        ]
        return await DUE_EVENTS.store(self._connection, _ADD, events=encode_rows(rows), lease=lease)

    async def find_known_intents(self, intent_ids: Sequence[str]) -> frozenset[str]:
        """Those of the intents that payments of ours have."""
        rows: list[dict[str, str]] = await self._connection.fetch_all(
            dict,
            "SELECT intent_id FROM payments WHERE intent_id = ANY(%(intent_ids)s)",
            intent_ids=list(intent_ids),
        )
        return frozenset(row["intent_id"] for row in rows)

    async def finish(self, claimed: Claimed[ProviderEvent], *, note: str) -> None:
        """Note that an event has been processed, unless the claim was lost."""
        await self._connection.execute(_FINISH, note=note, **claimed.parameters)

    async def find(self, event_id: str) -> StoredEvent | None:
        """What became of an event so far."""
        return await self._connection.fetch_one(
            _to_stored,
            "SELECT status, note, last_error FROM provider_events WHERE event_id = %(event_id)s",
            event_id=event_id,
        )

    async def make_due(self, event_id: str) -> bool:
        """Let an event that waits, or is flagged, be processed at once; false, and nothing is changed, for any other.

        Its last error is forgotten, so that there is one again only once the next attempt has failed.
        """
        return await self._change_undone(
            """
            status = 'RECEIVED', note = '', processed_at = NULL, last_error = NULL, next_attempt_at = now(),
            attempts = CASE status WHEN 'RECEIVED' THEN attempts ELSE 0 END
            """,
            event_id,
        )

    async def dismiss(self, event_id: str, *, note: str) -> bool:
        """Ignore an event that waits, or is flagged; false, and nothing is changed, for any other."""
        return await self._change_undone(
            "status = 'IGNORED', note = %(note)s, processed_at = now()", event_id, note=note
        )

    async def _change_undone(self, change: LiteralString, event_id: str, **parameters: object) -> bool:
        changed = await self._connection.execute(
            f"""
            UPDATE provider_events SET {change}
             WHERE event_id = %(event_id)s AND status IN ('RECEIVED', 'FLAGGED')
            """,  # noqa: S608 - put together from constants
            event_id=event_id,
            **parameters,
        )
        return changed == 1

    async def end_sweep(self, claimed: Claimed[SweepMark], *, swept_until: datetime, pause: timedelta) -> None:
        """Move the mark, never back, and let the next sweep be due after the pause, unless the claim was lost."""
        await self._connection.execute(_END_SWEEP, swept_until=swept_until, pause=pause, **claimed.parameters)


def _to_row(event: StripeEvent) -> dict[str, object]:
    return {
        "event_id": event.id,
        "type": event.type,
        "intent_id": event.intent_id,
        "order_id": event.order_id,
        "is_failed_authentication": event.is_failed_authentication,
    }


def _to_stored(*, status: str, note: str, last_error: str | None) -> StoredEvent:
    return StoredEvent(status=EventStatus(status), note=note, last_error=last_error)
