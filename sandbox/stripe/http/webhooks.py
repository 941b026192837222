"""Webhooks over HTTP: sends what is due of an account's deliveries, up to 8 at a time, each signed at every attempt.

What is due for an endpoint that was disabled or deleted meanwhile is not attempted any more
(https://docs.stripe.com/webhooks).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import aiohttp
import structlog

from sandbox.stripe.clock import Clock
from sandbox.stripe.deliveries import Deliveries
from sandbox.stripe.store import Delivery

log = structlog.stdlib.get_logger(__name__)

_AT_ONCE = 8
_ATTEMPT_TIMEOUT = 20.0


class Deliverer:
    """Sends an account's webhooks to their endpoints; `wake` it when something new is outstanding."""

    def __init__(self, deliveries: Deliveries, *, clock: Clock) -> None:
        self._deliveries = deliveries
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
                    with suppress(TimeoutError):  # the next delivery is due
                        await asyncio.wait_for(self._woken.wait(), pause)
            finally:
                for task in self._under_way.values():
                    task.cancel()
                await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _start_due(self, client: aiohttp.ClientSession) -> float | None:
        """Start what is due as far as there is room; returns how long to wait for the next, if there is one."""
        room = _AT_ONCE - len(self._under_way)
        if room == 0:
            return None
        now = self._clock.now()
        # Those under way may be the first ones, so more are read than there is room for.
        outstanding = self._deliveries.outstanding(limit=2 * _AT_ONCE)
        waiting = [delivery for delivery in outstanding if delivery.seq not in self._under_way]
        for delivery in [delivery for delivery in waiting if delivery.due_at <= now][:room]:
            task = asyncio.create_task(self._deliver(client, delivery))
            self._under_way[delivery.seq] = task
            task.add_done_callback(partial(self._ended, delivery.seq))
        later = [delivery.due_at - now for delivery in waiting if delivery.due_at > now]
        return min(later, default=None)

    def _ended(self, seq: int, task: asyncio.Task[None]) -> None:
        del self._under_way[seq]
        if not task.cancelled() and task.exception() is not None:
            # A defect of ours: looking again at once would try it for ever.
            log.error("webhook.failed", delivery=seq, exc_info=task.exception())
            return
        self.wake()

    async def _deliver(self, client: aiohttp.ClientSession, delivery: Delivery) -> None:
        if not self._deliveries.is_wanted(delivery):
            self._deliveries.dropped(delivery)
        elif await self._accepted(client, delivery):
            self._deliveries.succeeded(delivery)
        else:
            self._deliveries.failed(delivery)

    async def _accepted(self, client: aiohttp.ClientSession, delivery: Delivery) -> bool:
        signed = self._deliveries.sign(delivery)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signed.signature,
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            async with client.post(signed.url, data=signed.body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("webhook.undelivered", event_id=delivery.event_id, problem=type(error).__name__)
            return False
        is_success = 200 <= status < 300
        if not is_success:
            log.info("webhook.refused", event_id=delivery.event_id, status=status)
        return is_success
