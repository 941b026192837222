"""Whose turn it is: the steps of one order run one by one, in the order in which the saga asked for them.

A saga that gives up an activity goes on with local steps at once, while the activity may only be on its way from the
server to the worker. Which of them comes first would be chance; here it is the activity. The other order is explored by
requests that arrive late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 10.0
"""Seconds; no order depends on it."""


@dataclass(slots=True)
class Turn:
    """The order of one case's steps."""

    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _no_activity_due: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._no_activity_due.set()

    def expect_activity(self, loop: asyncio.AbstractEventLoop) -> None:
        """The saga asked for an activity; called from the thread of its task."""
        loop.call_soon_threadsafe(self._no_activity_due.clear)

    @asynccontextmanager
    async def wait(self, *, is_local: bool) -> AsyncIterator[None]:
        """Hold the turn."""
        if is_local:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._no_activity_due.wait(), LONGEST)
        else:
            self._no_activity_due.set()
        async with self._lock:
            yield
