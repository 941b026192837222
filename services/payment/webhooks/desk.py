"""What a person does about an event of Stripe's that does not get through: try it at once, or leave it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from runtime.database import Database
from runtime.polling import poll_until
from services.payment.tables import EventStatus
from services.payment.webhooks.errors import EventDone, EventNotFound
from services.payment.webhooks.model import StoredEvent
from services.payment.webhooks.repository import EventRepository

_WAIT: Final = 3.0
"""How long whoever lets an event be tried waits for what comes of it, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedEvent:
    """What came of a retry, in words; `done` is whether the event has been processed."""

    done: bool
    outcome: str


class EventDesk:
    """Where operators act on events.

    Args:
        database: the payment database.
        on_due: called when an event has become due.
    """

    def __init__(self, database: Database, *, on_due: Callable[[], None]) -> None:
        self._database = database
        self._on_due = on_due

    async def retry(self, event_id: str) -> RetriedEvent:
        """Let an event that waits, or is flagged, be processed now, and wait a little for what comes of it.

        Raises:
            EventNotFound: there is no such event.
            EventDone: it has been processed, or is ignored.
        """
        async with self._database.autocommit() as connection:
            is_due = await EventRepository(connection).make_due(event_id)
        if not is_due:
            raise await self._refusal(event_id)
        self._on_due()
        return _outcome(await poll_until(lambda event: event.has_ended, lambda: self._get(event_id), wait=_WAIT))

    async def dismiss(self, event_id: str, *, note: str) -> None:
        """Leave an event alone that waits, or is flagged: a person has dealt with it.

        Args:
            event_id: Stripe's.
            note: who, and why; kept with the event.

        Raises:
            EventNotFound: there is no such event.
            EventDone: it has been processed, or is ignored.
        """
        async with self._database.autocommit() as connection:
            is_dismissed = await EventRepository(connection).dismiss(event_id, note=note)
        if not is_dismissed:
            raise await self._refusal(event_id)

    async def _refusal(self, event_id: str) -> EventDone:
        event = await self._get(event_id)
        return EventDone(event_id, event.status, event.note)

    async def _get(self, event_id: str) -> StoredEvent:
        async with self._database.autocommit() as connection:
            event = await EventRepository(connection).find(event_id)
        if event is None:
            raise EventNotFound(event_id)
        return event


def _outcome(event: StoredEvent) -> RetriedEvent:
    match event.status:
        case EventStatus.RECEIVED if event.last_error is None:
            return RetriedEvent(done=False, outcome="it is not processed yet, and goes on by itself")
        case EventStatus.RECEIVED:
            return RetriedEvent(done=False, outcome=f"it failed again, and is tried again: {event.last_error}")
        case EventStatus.FLAGGED:
            return RetriedEvent(done=False, outcome=f"it is flagged again: {event.note}")
        case EventStatus.APPLIED | EventStatus.IGNORED:
            note = f": {event.note}" if event.note else ""
            return RetriedEvent(done=True, outcome=f"it is processed{note}")
