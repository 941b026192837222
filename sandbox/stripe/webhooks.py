"""Delivery of events to the webhook endpoint (https://docs.stripe.com/webhooks).

At least once and in no promised order: up to 8 events are under way at a time, each signed afresh at every attempt.
Whatever answer is not 2xx is retried after 1 s, 2 s, 4 s … at most 60 s apart, for 3 days. What is still owed lives in
the store, so a restart goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import aiohttp
import stripe
import structlog

from sandbox.stripe.store import Delivery, Store

log = structlog.stdlib.get_logger(__name__)

_AT_ONCE = 8
_LONGEST_PAUSE = 60.0
_GIVE_UP_AFTER = 3 * 24 * 3600.0
_ATTEMPT_TIMEOUT = 20.0


class Deliverer:
    """Sends what the store owes to `url`; `wake` it when something new is owed."""

    def __init__(self, store: Store, *, url: str, secret: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._url = url
        self._secret = secret
        self._clock = clock
        self._woken = asyncio.Event()
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look again at what is due."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; an attempt that is under way then is made again after a restart."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ATTEMPT_TIMEOUT)) as client:
            try:
                while True:
                    self._woken.clear()
                    pause = self._start_due(client)
                    await self._wait(pause)
            finally:
                for task in self._under_way.values():
                    task.cancel()
                await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _start_due(self, client: aiohttp.ClientSession) -> float | None:
        """Start what is due as far as there is room; returns how long to wait for the next, if there is one."""
        room = _AT_ONCE - len(self._under_way)
        if room == 0:
            return None
        now = self._clock()
        # Those under way may be the first ones owed, so more are read than there is room for.
        owed = [delivery for delivery in self._store.owed(limit=2 * _AT_ONCE) if delivery.seq not in self._under_way]
        due = [delivery for delivery in owed if delivery.due_at <= now]
        for delivery in due[:room]:
            task = asyncio.create_task(self._deliver(client, delivery))
            self._under_way[delivery.seq] = task
            task.add_done_callback(partial(self._ended, delivery.seq))
        later = [delivery.due_at - now for delivery in owed if delivery.due_at > now]
        return min(later, default=None)

    async def _wait(self, pause: float | None) -> None:
        with suppress(TimeoutError):  # the next delivery is due
            await asyncio.wait_for(self._woken.wait(), pause)

    def _ended(self, seq: int, task: asyncio.Task[None]) -> None:
        del self._under_way[seq]
        if not task.cancelled() and task.exception() is not None:
            # A defect of ours: looking again at once would try it for ever.
            log.error("webhook.failed", delivery=seq, exc_info=task.exception())
            return
        self.wake()

    async def _deliver(self, client: aiohttp.ClientSession, delivery: Delivery) -> None:
        if await self._accepted(client, delivery):
            self._store.settle(delivery)
            return
        now = self._clock()
        if now - delivery.since >= _GIVE_UP_AFTER:
            log.error("webhook.given_up", event_id=delivery.event_id, attempts=delivery.attempts + 1)
            self._store.settle(delivery)
            return
        # The exponent is bounded because 2 to the power of days of attempts is no float any more.
        pause = min(_LONGEST_PAUSE, 2.0 ** min(delivery.attempts, 10))
        self._store.postpone(delivery, due_at=now + pause)

    async def _accepted(self, client: aiohttp.ClientSession, delivery: Delivery) -> bool:
        body = self._store.raw(delivery.event_id)
        if body is None:
            raise LookupError(f"no event {delivery.event_id}")
        signature = stripe.WebhookSignature.generate_signature_header(
            body.decode(), self._secret, timestamp=int(self._clock())
        )
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature,
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            async with client.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("webhook.undelivered", event_id=delivery.event_id, problem=type(error).__name__)
            return False
        is_success = 200 <= status < 300
        if not is_success:
            log.info("webhook.refused", event_id=delivery.event_id, status=status)
        return is_success
