"""SQL of the inbox of provider events. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select

from services.payment.events import ProviderEvent
from services.payment.tables import EventRow, EventStatus, SweepRow

_SWEEP = "stripe"


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
    """Provider events and the sweep's mark, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, events: Sequence[ProviderEvent]) -> int:
        """Store the events that are not known yet; how many those were. What tells nothing is IGNORED at once."""
        if not events:
            return 0
        rows = [
            {
                "event_id": event.id,
                "type": event.type,
                "intent_id": event.intent_id,
                "order_id": event.order_id,
                "payload": event.payload,
                "received_at": func.now(),
                "status": (EventStatus.RECEIVED if event.is_telling else EventStatus.IGNORED).value,
                "note": "" if event.is_telling else "another event tells the same of the payment",
                "attempts": 0,
                "next_attempt_at": func.now(),
                "processed_at": None if event.is_telling else func.now(),
            }
            for event in events
        ]
        statement = upsert(EventRow).values(rows).on_conflict_do_nothing().returning(col(EventRow.event_id))
        return len((await self._connection.execute(statement)).all())

    async def claim_due(self, *, limit: int, lease: timedelta) -> list[InboxEvent]:
        """Take events that are due. Nobody else gets them before the lease ends; one of a dead process is due then."""
        row = EventRow
        due = (
            select(row.event_id)
            .where(col(row.status) == EventStatus.RECEIVED.value, col(row.next_attempt_at) <= func.now())
            .order_by(col(row.next_attempt_at))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(row)
            .where(col(row.event_id).in_(due))
            .values(attempts=col(row.attempts) + 1, next_attempt_at=func.now() + lease)
            .returning(
                col(row.event_id),
                col(row.type),
                col(row.intent_id),
                col(row.order_id),
                col(row.attempts),
                (func.now() - col(row.received_at)).label("age"),
            )
        )
        claimed = (await self._connection.execute(statement)).all()
        return [
            InboxEvent(
                event_id=event.event_id,
                type=event.type,
                intent_id=event.intent_id,
                order_id=event.order_id,
                attempts=event.attempts,
                age=event.age,
            )
            for event in claimed
        ]

    async def finish(self, event_id: str, status: EventStatus, *, note: str) -> None:
        """End the work on an event."""
        await self._connection.execute(
            update(EventRow)
            .where(col(EventRow.event_id) == event_id)
            .values(status=status.value, note=note, processed_at=func.now())
        )

    async def postpone(self, event_id: str, *, delay: timedelta, note: str) -> None:
        """Take an event up again after `delay`."""
        await self._connection.execute(
            update(EventRow)
            .where(col(EventRow.event_id) == event_id)
            .values(next_attempt_at=func.now() + delay, note=note)
        )

    async def start_sweep(self, *, first_look: timedelta) -> datetime:
        """Up to which of Stripe's times its events were read; at the very first, `first_look` ago."""
        first = {"name": _SWEEP, "swept_until": func.now() - first_look}
        await self._connection.execute(upsert(SweepRow).values(first).on_conflict_do_nothing())
        statement = select(SweepRow.swept_until).where(col(SweepRow.name) == _SWEEP)
        return (await self._connection.execute(statement)).scalar_one()

    async def end_sweep(self, swept_until: datetime) -> None:
        """Move the mark; never back."""
        await self._connection.execute(
            update(SweepRow)
            .where(col(SweepRow.name) == _SWEEP)
            .values(swept_until=func.greatest(col(SweepRow.swept_until), swept_until))
        )
