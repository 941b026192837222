"""PostgreSQL: one engine per service, transactions, and wake-ups by LISTEN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog
from sqlalchemy import URL, DateTime, MetaData, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel import Field

log = structlog.stdlib.get_logger(__name__)

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def service_metadata() -> MetaData:
    """The schema of one service's database: each service has its own."""
    return MetaData(naming_convention=NAMING_CONVENTION)


def timestamp(**options: Any) -> Any:
    """A ``timestamptz`` column; values are aware datetimes."""
    return Field(sa_type=DateTime(timezone=True), **options)


def sqlalchemy_url(dsn: str) -> URL:
    """A libpq URI as SQLAlchemy wants it, for the psycopg driver."""
    return make_url(dsn).set(drivername="postgresql+psycopg")


class Database:
    """One service's database."""

    def __init__(self, dsn: str, *, pool_size: int) -> None:
        self.dsn = dsn
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(dsn), pool_size=pool_size, max_overflow=0, pool_pre_ping=False
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One READ COMMITTED transaction: committed at the end of the block, rolled back when it raises."""
        async with self._engine.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Give every connection back."""
        await self._engine.dispose()


class Listener:
    """Calls `on_wake(payload)` for each NOTIFY on `channel`, over a connection of its own that comes back by itself.

    A notification is a hint, never a queue: after each (re)connection `on_wake("")` says that some may have been
    missed. Use as an async context manager.
    """

    def __init__(self, dsn: str, *, channel: str, on_wake: Callable[[str], None]) -> None:
        self._dsn = dsn
        self._channel = channel
        self._on_wake = on_wake
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Listener:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        delay = 0.1
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    await connection.execute(f'LISTEN "{self._channel}"')
                    delay = 0.1
                    self._on_wake("")
                    async for notification in connection.notifies():
                        self._on_wake(notification.payload)
            except psycopg.OperationalError as error:
                log.warning("listener.lost", channel=self._channel, error=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)
