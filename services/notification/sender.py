"""The loops that empty the queue of notifications."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from runtime.database import DatabaseAway
from services.notification.service import NotificationService

log = structlog.stdlib.get_logger(__name__)

LOOPS: Final = 3
"""Notifications sent at once."""
POLL_SECONDS: Final = 1.0


class Sender:
    """Sends what is due, `LOOPS` at a time; looks when woken, and every second for what was postponed."""

    def __init__(self, service: NotificationService) -> None:
        self._service = service
        self._stopping = False
        self._wakes: asyncio.Queue[None] = asyncio.Queue(LOOPS)
        """One rouses one loop: for one mail the others need not look."""

    def wake(self) -> None:
        """Say that something has become due."""
        with suppress(asyncio.QueueFull):
            self._wakes.put_nowait(None)

    async def run(self, stopping: asyncio.Event, *, grace: float) -> None:
        """Send until told to stop; what is under way then gets `grace` seconds to end, and is given back after that."""
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(self._loop()) for _ in range(LOOPS)]
            await stopping.wait()
            self._stopping = True
            for _ in loops:
                self.wake()
            await asyncio.wait(loops, timeout=grace)
            for loop in loops:
                loop.cancel()

    async def _loop(self) -> None:
        while not self._stopping:
            try:
                more = await self._service.send_next()
            except DatabaseAway as error:
                log.warning("sender.database_away", error=str(error))
                more = False
            if not more and not self._stopping:
                await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._wakes.get()
