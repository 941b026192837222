"""What comes from Stripe goes into the inbox: webhooks, and what the sweep lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial

import structlog

from runtime.clock import Clock
from runtime.database import Database
from runtime.due_work import Stored
from runtime.due_worker import DueWorker
from runtime.metrics import PROVIDER_EVENTS
from services.payment.stripe.errors import UnreadableEvent
from services.payment.stripe.events import parse_event
from services.payment.stripe.model import StripeEvent
from services.payment.webhooks.errors import BadWebhookBody
from services.payment.webhooks.model import ProviderEvent
from services.payment.webhooks.repository import EventRepository
from services.payment.webhooks.signature import check_signature

log = structlog.stdlib.get_logger(__name__)


class WebhookService:
    """Stores the events that concern us, each once.

    Args:
        database: the payment database.
        secrets: that a webhook may be signed with, the current one first.
        livemode: whether live events are ours; the others are test events.
        app: our mark in the metadata of what we made at Stripe.
        inbox: processes what is stored.
        clock: says how old a signature is.

    Attributes:
        dropped: how many events were stored nowhere, by reason.
    """

    def __init__(
        self,
        database: Database,
        *,
        secrets: Sequence[str],
        livemode: bool,
        app: str,
        inbox: DueWorker[ProviderEvent],
        clock: Clock,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._livemode = livemode
        self._app = app
        self._inbox = inbox
        self._clock = clock
        self.dropped: Counter[str] = Counter()

    async def receive(self, *, body: bytes, signature: str) -> None:
        """Store a webhook's event, so that Stripe may be answered that we have it.

        Raises:
            BadWebhookSignature: Stripe did not sign it, or not lately.
            BadWebhookBody: it is no event of Stripe's v1 API.
        """
        check_signature(body=body, header=signature, secrets=self._secrets, now=self._clock().timestamp())
        try:
            event = parse_event(body, app=self._app)
        except UnreadableEvent as error:
            raise BadWebhookBody(str(error)) from None
        await self.store([event])

    async def store(self, events: Sequence[StripeEvent]) -> None:
        """Store those of the events that are ours and not known yet."""
        unmarked = [event.intent_id for event in events if not event.has_our_metadata and event.intent_id is not None]
        intents = await self._find_known(unmarked) if unmarked else frozenset()
        ours = [event for event in events if self._is_wanted(event, intents)]
        if ours:
            await self._inbox.add(partial(self._add, ours), most=len(ours))

    async def _add(self, events: Sequence[StripeEvent], claims: int, lease: timedelta) -> Stored[ProviderEvent]:
        async with self._database.autocommit() as connection:
            return await EventRepository(connection).add(events, claims=claims, lease=lease)

    async def _find_known(self, intent_ids: Sequence[str]) -> frozenset[str]:
        async with self._database.autocommit() as connection:
            return await EventRepository(connection).find_known_intents(intent_ids)

    def _is_wanted(self, event: StripeEvent, intents: Collection[str]) -> bool:
        if event.livemode is not self._livemode:
            reason = "livemode"
        elif not event.has_our_metadata and event.intent_id not in intents:
            reason = "metadata"
        else:
            return True
        self.dropped[reason] += 1
        PROVIDER_EVENTS.labels("DROPPED").inc()
        log.info("event.dropped", event_id=event.id, type=event.type, reason=reason, so_far=self.dropped[reason])
        return False
