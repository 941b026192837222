"""The loops that empty the queue of notifications."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.notification.service import NotificationService

log = structlog.stdlib.get_logger(__name__)

DATABASE_AWAY: Final = (OperationalError, InterfaceError, PoolTimeoutError)
LOOPS: Final = 3
"""Notifications sent at once."""
POLL_SECONDS: Final = 1.0


class Sender:
    """Sends what is due, `LOOPS` at a time; looks when woken, and every second for what was postponed."""

    def __init__(self, service: NotificationService) -> None:
        self._service = service
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say that something has become due."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(LOOPS):
                group.create_task(self._loop())

    async def _loop(self) -> None:
        while True:
            try:
                sent = await self._service.send_next()
            except DATABASE_AWAY as error:
                log.warning("sender.database_away", error=type(error).__name__)
                sent = False
            if not sent:
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
