"""Wake-ups by PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import psycopg
import structlog

from runtime.backoff import Backoff, Retries
from runtime.connecting import with_keepalives

log = structlog.stdlib.get_logger(__name__)

PROBE_INTERVAL: Final = 2.0
"""Seconds between two questions whether the connection still works: a backend that is stopped keeps it open."""
PROBE_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 0.1
_BACKOFF: Final = Backoff(first=0.1, longest=2)


class Listener:
    """Calls `on_wake(payload)` for each NOTIFY on `channel`, over a connection of its own that comes back by itself.

    A notification is a hint, never a queue: after each (re)connection, and as soon as the connection is found to be
    lost, `on_wake("")` says that some may have been missed. Use as an async context manager, or run `run`.

    Args:
        dsn: a DSN that reaches PostgreSQL itself, or a pooler in session mode.
        channel: its name.
        on_wake: is called with the payload.
    """

    def __init__(self, dsn: str, *, channel: str, on_wake: Callable[[str], None]) -> None:
        self._dsn = with_keepalives(dsn)
        self._channel = channel
        self._on_wake = on_wake
        self._task: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[Any]] = set()
        """Probes that got no answer."""

    async def __aenter__(self) -> Listener:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def run(self) -> None:
        """Listen until cancelled."""
        retries = Retries(_BACKOFF)
        while True:
            try:
                await self._listen(on_connected=retries.succeeded)
            except psycopg.OperationalError as error:
                log.warning("listener.lost", channel=self._channel, error=str(error))
                self._on_wake("")
            await asyncio.sleep(retries.failed())

    async def _listen(self, *, on_connected: Callable[[], None]) -> None:
        connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        try:
            await connection.execute(f'LISTEN "{self._channel}"')
            on_connected()
            self._on_wake("")
            while True:
                async for notification in connection.notifies(timeout=PROBE_INTERVAL):
                    self._on_wake(notification.payload)
                await self._probe(connection)
        finally:
            await connection.close()

    async def _probe(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Ask whether the connection still works.

        Raises:
            psycopg.OperationalError: it does not.
        """
        probe = asyncio.create_task(_ask(connection))
        try:
            done, _ = await asyncio.wait({probe}, timeout=PROBE_TIMEOUT)
            if not done:
                raise psycopg.OperationalError(f"no answer in {PROBE_TIMEOUT} s")
            probe.result()
        finally:
            if not probe.done():
                # psycopg asks the backend to cancel, and waits for the answer of one that gives none: not here.
                probe.cancel()
                self._abandoned.add(probe)
                probe.add_done_callback(self._abandoned.discard)
                await asyncio.wait({probe}, timeout=_CLOSE_TIMEOUT)


async def _ask(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute("SELECT 1", prepare=False)
