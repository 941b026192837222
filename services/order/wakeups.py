"""Waiting for an order to move, woken by NOTIFY."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Wakeups:
    """Wakes whoever waits for an order. A wake-up is a hint: the waiter reads the order again."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def subscribe(self, order_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the order moves; subscribe before the read that decides to wait."""
        event = asyncio.Event()
        self._waiting[order_id].add(event)
        try:
            yield event
        finally:
            self._waiting[order_id].discard(event)
            if not self._waiting[order_id]:
                del self._waiting[order_id]

    def wake(self, order_id: str) -> None:
        """Wake who waits for this order; without an id, everybody, because notifications may have been missed."""
        if order_id:
            woken = list(self._waiting.get(order_id, ()))
        else:
            woken = [event for events in self._waiting.values() for event in events]
        for event in woken:
            event.set()
