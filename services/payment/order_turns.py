"""Within a process, what is done to one order's payment at Stripe takes turns.

That only spares Stripe contradictory requests, and us repeated ones: that money moves once holds without it, by
idempotency keys, Stripe's own state machine and the guard of `payments.store`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from runtime.deadline import time_to_wait
from runtime.refusal import Unavailable
from services.payment.stripe.errors import PaymentNeedsStripe
from services.payment.stripe.gate import Lane, current_lane

EVENT_WAIT: Final = 0.5
"""Seconds that an event waits for its order's turn: longer than it takes to store what Stripe has answered, and shorter
than Stripe takes that is slow."""


class OrderTurns:
    """One turn at a time for each order."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, order_id: str) -> AsyncIterator[None]:
        """The order's turn, once those before have ended. There are no turns within a turn.

        Whoever has it may wait for Stripe, so it is waited for by those alone who would wait for Stripe, too.

        Raises:
            PaymentNeedsStripe: it is somebody else's, and the caller would rather fail than ask Stripe.
            Unavailable: it did not come in time.
        """
        lock = self._locks.setdefault(order_id, asyncio.Lock())
        lane = current_lane()
        if lane is Lane.NONE and lock.locked():
            raise PaymentNeedsStripe("another call of the order's payment is under way")
        try:
            async with asyncio.timeout(EVENT_WAIT if lane is Lane.EVENTS else time_to_wait()):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("another call of the order's payment is still under way") from None
        try:
            yield
        finally:
            lock.release()
