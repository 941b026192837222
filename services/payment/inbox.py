"""Works off the stored events: each makes us catch up with Stripe, and then wakes the workflows that it concerns.

An event is only a hint, so that late, doubled and reordered ones do no harm. It is done once Temporal took the signal,
which it needs unless it tells of a cancellation that we asked for; until then it stays and is tried again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from domain.payments import PaymentStatus
from runtime.database import Database
from runtime.metrics import PROVIDER_EVENTS
from runtime.refusal import Unavailable
from services.payment.event_repository import EventRepository, InboxEvent
from services.payment.event_types import DISPUTE_TYPES, REFUND_TYPES
from services.payment.sagas import Sagas
from services.payment.service import PaymentService
from services.payment.tables import EventStatus

log = structlog.stdlib.get_logger(__name__)

_POLL: Final = 1.0
_FIRST_PAUSE: Final = timedelta(seconds=0.1)
_LONGEST_PAUSE: Final = timedelta(seconds=5)
# What a dead process left is taken over after this long; that a slow one may then work twice does no harm.
_LEASE: Final = timedelta(seconds=10)
_GRACE: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: EventStatus
    note: str = ""


class Inbox:
    """Works off events, `concurrency` at a time.

    Args:
        database: the payment database.
        payments: catches up with Stripe.
        sagas: the workflows of orders.
        patience: how long an event of an unknown payment is tried again before it is FLAGGED.
        concurrency: events under way at a time.
    """

    def __init__(
        self,
        database: Database,
        payments: PaymentService,
        sagas: Sagas,
        *,
        patience: timedelta,
        concurrency: int = 8,
    ) -> None:
        self._database = database
        self._payments = payments
        self._sagas = sagas
        self._patience = patience
        self._concurrency = concurrency
        self._woken = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look again at what is due."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; what is under way then is finished."""
        try:
            while True:
                self._woken.clear()
                await self._start_due_safely()
                await self._wait_for_wake()
        finally:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=_GRACE)

    async def work_off_due(self) -> None:
        """Work until nothing is due: what has to be tried again is due later."""
        while await self._start_due() or self._under_way:
            if self._under_way:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _wait_for_wake(self) -> None:
        # In vain: look nevertheless, because another process may have stored events, or a postponed one is due.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), _POLL)

    async def _start_due_safely(self) -> None:
        try:
            await self._start_due()
        except Exception:  # the border of the loop: a database that is away comes back
            log.exception("inbox.failed")

    async def _start_due(self) -> int:
        room = self._concurrency - len(self._under_way)
        if room <= 0:
            return 0
        async with self._database.autocommit() as connection:
            claimed = await EventRepository(connection).claim_due(limit=room, lease=_LEASE)
        for event in claimed:
            task = asyncio.create_task(self._work_off(event))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        return len(claimed)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self.wake()

    async def _work_off(self, event: InboxEvent) -> None:
        try:
            outcome = await self._outcome(event)
            async with self._database.autocommit() as connection:
                repository = EventRepository(connection)
                if outcome.status is EventStatus.RECEIVED:
                    await repository.postpone(event.event_id, delay=_pause(event), note=outcome.note)
                else:
                    await repository.finish(event.event_id, outcome.status, note=outcome.note)
        except Exception:  # the border of the loop: the event stays, and is due again when its lease ends
            log.exception("event.failed", event_id=event.event_id)
            return
        PROVIDER_EVENTS.labels(outcome.status.value).inc()
        if outcome.status is EventStatus.FLAGGED:
            log.error("event.flagged", event_id=event.event_id, type=event.type, note=outcome.note)

    async def _outcome(self, event: InboxEvent) -> _Outcome:
        payment = await self._payments.find(intent_id=event.intent_id, order_id=event.order_id)
        if payment is None or payment.intent_id is None:
            note = "no payment has this event's intent"
            return _Outcome(EventStatus.RECEIVED if event.age < self._patience else EventStatus.FLAGGED, note)
        if event.intent_id is not None and event.intent_id != payment.intent_id:
            return _Outcome(EventStatus.FLAGGED, f"the order's payment has another intent, {payment.intent_id}")
        if payment.closing and payment.status is PaymentStatus.CANCELLED:
            # The saga that asked for it has the answer; a signal would only make it repeat its last workflow task.
            return _Outcome(EventStatus.APPLIED, "cancelled by our own request")
        try:
            await self._payments.follow_up(payment.order_id, event_type=event.type)
            if not event.type.startswith((REFUND_TYPES, DISPUTE_TYPES)):
                await self._sagas.payment_changed(order_id=payment.order_id, event_id=event.event_id)
        except Unavailable as problem:
            log.info("event.postponed", event_id=event.event_id, attempts=event.attempts, problem=str(problem))
            return _Outcome(EventStatus.RECEIVED, str(problem))
        return _Outcome(EventStatus.APPLIED)


def _pause(event: InboxEvent) -> timedelta:
    return min(_FIRST_PAUSE * (1 << min(event.attempts, 10)), _LONGEST_PAUSE)
