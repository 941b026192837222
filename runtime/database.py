"""PostgreSQL: one pool of connections per service, transactions, and wake-ups by LISTEN.

Tables are SQLModel classes, which the migrations are made from; statements are plain SQL (docs/decisions/0010).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, TypeVar

import msgspec
import psycopg
import structlog
from psycopg.rows import kwargs_row, scalar_row
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import URL, DateTime, MetaData, make_url
from sqlmodel import Field

from runtime.backoff import Backoff, Retries
from runtime.deadline import time_to_wait
from runtime.refusal import Unavailable
from runtime.settings import Settings
from runtime.turns import Turns

log = structlog.stdlib.get_logger(__name__)

Row = TypeVar("Row")

CONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for PostgreSQL to take a connection; and for one's turn, unless the caller waits longer."""

_RECONNECT: Final = Backoff(first=0.1, longest=2.0)

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


class DatabaseAway(Unavailable):
    """PostgreSQL does not answer, or broke off. Whether a transaction was committed is not known: repeat it."""


class Connection:
    """A connection that statements run on.

    Statements are SQL with placeholders like ``%(name)s``. Where rows come back, `make` is called for each with its
    columns as keyword arguments. UUIDs are strings on both sides.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def execute(self, statement: LiteralString, /, **parameters: object) -> int:
        """Run a statement; the number of rows that it changed."""
        return (await self._connection.execute(statement, parameters)).rowcount

    async def fetch_one(
        self, make: Callable[..., Row], statement: LiteralString, /, **parameters: object
    ) -> Row | None:
        """The first row, if there is one."""
        cursor = self._connection.cursor(row_factory=kwargs_row(make))
        return await (await cursor.execute(statement, parameters)).fetchone()

    async def fetch_all(self, make: Callable[..., Row], statement: LiteralString, /, **parameters: object) -> list[Row]:
        """Every row."""
        cursor = self._connection.cursor(row_factory=kwargs_row(make))
        return await (await cursor.execute(statement, parameters)).fetchall()

    async def fetch_value(self, statement: LiteralString, /, **parameters: object) -> Any:
        """The first column of the first row; None without a row."""
        cursor = self._connection.cursor(row_factory=scalar_row)
        return await (await cursor.execute(statement, parameters)).fetchone()


def encode_rows(rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as one JSON parameter: ``FROM json_to_recordset(%(rows)s::json) AS row (name type, …)`` has them again.

    One statement for any number of rows, at half the cost of an array per column (docs/decisions/0010).
    """
    return msgspec.json.encode(list(rows)).decode()


class Database:
    """One service's database."""

    def __init__(self, dsn: str, *, pool_size: int) -> None:
        self.dsn = dsn
        self._turns = Turns(pool_size, of="connection", error=DatabaseAway)
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=pool_size,
            timeout=CONNECT_TIMEOUT,
            # A failed connect is repeated once, a second later. Left alone, the pool would try for minutes at ever
            # longer intervals, and stay away from a database that is back; so, the next caller starts anew.
            reconnect_timeout=1.0,
            kwargs={"autocommit": True},
            configure=_configure,
            check=self._check,
            open=False,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One READ COMMITTED transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            DatabaseAway: repeat.
        """
        async with self._connect() as connection, connection.transaction():
            yield Connection(connection)

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        """Each statement a transaction of its own: for use cases of one statement, at a third of the cost.

        Raises:
            DatabaseAway: repeat.
        """
        async with self._connect() as connection:
            yield Connection(connection)

    async def close(self) -> None:
        """Give every connection back."""
        await self._pool.close()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            if self._pool.closed:
                await self._pool.open()
            # As long as the caller waits, and never less than that: a handler finishes what it began when its caller
            # has gone. The pool itself waits for PostgreSQL, and gives up sooner: no server is not the same as a crowd.
            async with (
                self._turns.take(wait=max(CONNECT_TIMEOUT, time_to_wait() or 0)),
                self._pool.connection() as connection,
            ):
                yield connection
        except psycopg.OperationalError as error:
            raise DatabaseAway(f"the database does not answer: {error}") from error

    async def _check(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Refuse a connection that PostgreSQL has closed, without asking it: the end waits in the socket to be read."""
        try:
            connection.pgconn.consume_input()  # PostgreSQL's last words, if it had any
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            await self._pool.check()  # most likely it closed the others too
            raise


@asynccontextmanager
async def open_database(settings: Settings, service: str, *, given: Database | None = None) -> AsyncIterator[Database]:
    """A service's database, as long as the context is open: the one that is given, or else that of the settings.

    Raises:
        SettingsError: the settings name none.
    """
    if given is not None:  # whoever gives it closes it
        yield given
        return
    database = Database(settings.required(f"{service}_dsn"), pool_size=settings.database_pool_size)
    try:
        yield database
    finally:
        await database.close()


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_loader("uuid", TextLoader)


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
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def run(self) -> None:
        """Listen until cancelled."""
        retries = Retries(_RECONNECT)
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    await connection.execute(f'LISTEN "{self._channel}"')
                    retries.succeeded()
                    self._on_wake("")
                    async for notification in connection.notifies():
                        self._on_wake(notification.payload)
            except psycopg.OperationalError as error:
                log.warning("listener.lost", channel=self._channel, error=str(error))
            await asyncio.sleep(retries.failed())
