"""What comes from Stripe goes into the inbox: webhooks, and what the sweep lists."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import structlog

from runtime.database import Database
from runtime.metrics import PROVIDER_EVENTS
from services.payment.event_repository import EventRepository
from services.payment.events import ProviderEvent, parse_event
from services.payment.signature import check_signature

log = structlog.stdlib.get_logger(__name__)


class EventIntake:
    """Stores the events that concern us, each once, and says so.

    Args:
        database: the payment database.
        secrets: that a webhook may be signed with, the current one first.
        livemode: whether live events are ours; the others are test events.
        on_stored: called after new events were committed.
    """

    def __init__(
        self, database: Database, *, secrets: Sequence[str], livemode: bool, on_stored: Callable[[], None]
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._livemode = livemode
        self._on_stored = on_stored
        self.dropped: Counter[str] = Counter()
        """Events that were stored nowhere, by reason."""

    async def receive_webhook(self, *, body: bytes, signature: str) -> None:
        """Store a webhook's event before Stripe is told that we have it.

        Raises:
            BadWebhookSignature: Stripe did not sign it, or not lately.
            BadWebhookBody: it is no event of Stripe's v1 API.
        """
        check_signature(body=body, header=signature, secrets=self._secrets, now=time.time())
        await self.store([parse_event(body)])

    async def store(self, events: Sequence[ProviderEvent]) -> None:
        """Store those of the events that are ours and not known yet."""
        strange = [event.intent_id for event in events if not event.ours and event.intent_id is not None]
        intents = await self._find_known(strange) if strange else frozenset()
        ours = [event for event in events if self._is_wanted(event, intents)]
        if not ours:
            return
        async with self._database.autocommit() as connection:
            stored = await EventRepository(connection).add(ours)
        if stored:
            self._on_stored()

    async def _find_known(self, intent_ids: Sequence[str]) -> frozenset[str]:
        async with self._database.autocommit() as connection:
            return await EventRepository(connection).find_known_intents(intent_ids)

    def _is_wanted(self, event: ProviderEvent, intents: Collection[str]) -> bool:
        if event.livemode is not self._livemode:
            reason = "livemode"
        elif not event.ours and event.intent_id not in intents:
            reason = "metadata"
        else:
            return True
        self.dropped[reason] += 1
        PROVIDER_EVENTS.labels("DROPPED").inc()
        log.info("event.dropped", event_id=event.id, type=event.type, reason=reason, so_far=self.dropped[reason])
        return False
