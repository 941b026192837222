"""Lists Stripe's events into the inbox, so that a broken webhook endpoint delays orders but loses nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from runtime.database import Database
from services.payment.stripe.client import StripeClient
from services.payment.stripe.gate import Lane, asking_as
from services.payment.stripe.model import StripeEvent
from services.payment.webhooks.repository import EventRepository
from services.payment.webhooks.service import WebhookService

_FIRST_LOOK: Final = timedelta(hours=1)
# Stripe's list may show an event later than ones that happened after it: mostly by seconds, rarely by more.
_OVERLAP: Final = timedelta(seconds=30)
_RARE_OVERLAP: Final = timedelta(minutes=10)
_RARELY: Final = 10
"""One sweep in so many looks back further: reading an event again costs nearly as much as reading it."""
_BATCH: Final = 100


class EventSweep:
    """Reads Stripe's list of events from where the last sweep ended.

    The mark is in Stripe's own time, the newest event's, so that its clock and ours need not agree.
    """

    def __init__(self, database: Database, stripe: StripeClient, webhooks: WebhookService) -> None:
        self._database = database
        self._stripe = stripe
        self._webhooks = webhooks
        self._sweeps = 0

    async def sweep(self) -> None:
        """Store the events since the last sweep that are not known yet.

        Raises:
            StripeUnavailable: the mark stays where it was.
        """
        with asking_as(Lane.EVENTS):
            await self._sweep()

    async def _sweep(self) -> None:
        async with self._database.autocommit() as connection:
            swept_until = await EventRepository(connection).start_sweep(first_look=_FIRST_LOOK)
        overlap = _OVERLAP if self._sweeps % _RARELY else _RARE_OVERLAP
        self._sweeps += 1
        batch: list[StripeEvent] = []
        newest = swept_until
        async for event in self._stripe.list_events(created_from=swept_until - overlap):
            newest = max(newest, datetime.fromtimestamp(event.created, UTC))
            batch.append(event)
            if len(batch) == _BATCH:
                await self._webhooks.store(batch)
                batch.clear()
        await self._webhooks.store(batch)
        async with self._database.autocommit() as connection:
            await EventRepository(connection).end_sweep(newest)
