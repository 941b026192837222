"""Wake-ups by PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn

import psycopg
import structlog

from runtime.backoff import Backoff, Retries
from runtime.connecting import with_keepalives

log = structlog.stdlib.get_logger(__name__)

PROBE_INTERVAL: Final = 2.0
"""Seconds between two questions whether the connection still works: a backend that is stopped keeps it open."""
PROBE_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 0.5
"""Seconds that the end of a connection is waited for at a stop."""
_BACKOFF: Final = Backoff(first=0.1, longest=2)


class Listener:
    """Calls `on_wake(payload)` for each NOTIFY on `channel`, over a connection of its own that comes back by itself.

    A notification is a hint, never a queue: after each (re)connection, and as soon as the connection is found to be
    lost, `on_wake("")` says that some may have been missed. Use as an async context manager, or run `run`.

    Args:
        dsn: a DSN that reaches PostgreSQL itself, or a pooler in session mode.
        channel: its name.
        on_wake: is called with the payload.
        presence: key of an advisory lock that the connection shares while it is there, so that others can count it.
    """

    def __init__(
        self, dsn: str, *, channel: str, on_wake: Callable[[str], None], presence: tuple[int, int] | None = None
    ) -> None:
        self._dsn = with_keepalives(dsn)
        self._channel = channel
        self._on_wake = on_wake
        self._presence = presence
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        """Connections that are being closed."""

    async def __aenter__(self) -> Listener:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSE_TIMEOUT)

    async def run(self) -> None:
        """Listen until cancelled."""
        retries = Retries(_BACKOFF)
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            except psycopg.OperationalError as error:
                log.warning("listener.away", channel=self._channel, error=str(error))
            else:
                retries.succeeded()
                try:
                    await self._listen(connection)
                except psycopg.OperationalError as error:
                    log.warning("listener.lost", channel=self._channel, error=str(error))
                    self._on_wake("")
            await asyncio.sleep(retries.failed())

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> NoReturn:
        probe: asyncio.Task[Any] | None = None
        try:
            if self._presence is not None:
                await connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", self._presence)
            await connection.execute(f'LISTEN "{self._channel}"')
            self._on_wake("")
            while True:
                await self._hear(connection, seconds=PROBE_INTERVAL)
                probe = asyncio.create_task(connection.execute("SELECT 1", prepare=False))
                await asyncio.wait({probe}, timeout=PROBE_TIMEOUT)
                if not probe.done():
                    raise psycopg.OperationalError(f"no answer in {PROBE_TIMEOUT} s")
                probe.result()
        finally:
            ending = asyncio.create_task(_end(connection, probe))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _hear(self, connection: psycopg.AsyncConnection[Any], *, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        is_readable = False  # at first: what came before the answer to a probe psycopg has read already
        while (left := ends_at - loop.time()) > 0:
            async for notification in connection.notifies(timeout=left if is_readable else 0, stop_after=1):
                self._on_wake(notification.payload)
            is_readable = await _is_readable(connection, within=left)


async def _is_readable(connection: psycopg.AsyncConnection[Any], *, within: float) -> bool:
    """Whether PostgreSQL sends something in so many seconds; psycopg, which can wait too, looks ten times in each."""
    loop, is_readable, socket = asyncio.get_running_loop(), asyncio.Event(), connection.fileno()
    loop.add_reader(socket, is_readable.set)
    try:
        async with asyncio.timeout(within):
            return await is_readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(socket)


async def _end(connection: psycopg.AsyncConnection[Any], probe: asyncio.Task[Any] | None) -> None:
    """Close the connection, once psycopg has let go of it.

    It asks the backend to cancel a probe that got no answer, and waits some seconds. Whoever closed the connection
    meanwhile would give its descriptor to the next one, which psycopg would then take for this one.
    """
    if probe is not None and not probe.done():
        probe.cancel()
        await asyncio.wait({probe})
    await connection.close()
