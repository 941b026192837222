"""Lists Stripe's events into the inbox, so that a broken webhook endpoint delays orders but loses nothing.

The list is a row that is due work like any other: of several payment services one reads it, and another goes on where
that one was killed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import Record
from services.payment.stripe.client import StripeClient
from services.payment.stripe.gate import Lane, asking_as
from services.payment.stripe.model import StripeEvent
from services.payment.webhooks.model import SweepMark
from services.payment.webhooks.repository import EventRepository
from services.payment.webhooks.service import WebhookService

# Stripe's list may show an event later than ones that happened after it: mostly by seconds, rarely by more.
_OVERLAP: Final = timedelta(seconds=30)
_RARE_OVERLAP: Final = timedelta(minutes=10)
_RARELY: Final = 10
"""One sweep in so many looks back further: reading an event again costs nearly as much as reading it."""
_BATCH: Final = 100
_MOST: Final = timedelta(minutes=5)
"""Read at once after an outage: the list begins with the newest, so a sweep that breaks off has to begin again, and one
has to end within its lease."""
_FAR_BEHIND: Final = timedelta(minutes=15)
"""From where on that is done: by PostgreSQL's clock, which may well be minutes ahead of Stripe's."""


class EventSweep:
    """Reads Stripe's list of events from where the last sweep ended.

    The mark is in Stripe's own time, the newest event's, so that its clock and ours need not agree.

    Args:
        database: the payment database.
        stripe: has the list.
        webhooks: stores its events.
        interval: from the end of a sweep to the next.
    """

    def __init__(
        self, database: Database, stripe: StripeClient, webhooks: WebhookService, *, interval: timedelta
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._webhooks = webhooks
        self._interval = interval
        self._sweeps = 0

    async def process(self, claimed: Claimed[SweepMark]) -> Record:
        """Store the events since the last sweep that are not known yet.

        Raises:
            StripeUnavailable: the mark stays where it was.
        """
        with asking_as(Lane.EVENTS):
            return await self._sweep(claimed)

    async def _sweep(self, claimed: Claimed[SweepMark]) -> Record:
        mark = claimed.item
        overlap = _OVERLAP if self._sweeps % _RARELY else _RARE_OVERLAP
        self._sweeps += 1
        is_part = mark.behind > _FAR_BEHIND
        until = mark.swept_until + _MOST if is_part else None
        newest = await self._store_listed(since=mark.swept_until - overlap, until=until)
        swept_until = until or max(newest, mark.swept_until)
        return partial(self._record, claimed, swept_until, timedelta(0) if is_part else self._interval)

    async def _store_listed(self, *, since: datetime, until: datetime | None) -> datetime:
        """The time of the newest event; `since` if there is none."""
        batch: list[StripeEvent] = []
        newest = since
        async for event in self._stripe.list_events(created_from=since, created_to=until):
            newest = max(newest, datetime.fromtimestamp(event.created, UTC))
            batch.append(event)
            if len(batch) == _BATCH:
                await self._webhooks.store(batch)
                batch.clear()
        await self._webhooks.store(batch)
        return newest

    async def _record(self, claimed: Claimed[SweepMark], swept_until: datetime, pause: timedelta) -> bool:
        """Whether the next sweep is due at once."""
        async with self._database.autocommit() as connection:
            await EventRepository(connection).end_sweep(claimed, swept_until=swept_until, pause=pause)
        return pause <= timedelta(0)
