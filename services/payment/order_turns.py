"""Within a process, what is done to one order's payment at Stripe takes turns.

That only spares Stripe contradictory requests, and us repeated ones: that money moves once holds without it, by
idempotency keys, Stripe's own state machine and the guard of `payments.store`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class OrderTurns:
    """One turn at a time for each order."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, order_id: str) -> AsyncIterator[None]:
        """The order's turn, once those before have ended. There are no turns within a turn."""
        lock = self._locks.setdefault(order_id, asyncio.Lock())
        async with lock:
            yield
