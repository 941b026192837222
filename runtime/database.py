"""PostgreSQL: one pool of connections per service, transactions, and wake-ups.

Tables are SQLModel classes, which the migrations are made from; statements are plain SQL (docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, TypeVar

import msgspec
import psycopg
import structlog
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from psycopg.rows import kwargs_row, scalar_row
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import URL, DateTime, MetaData, make_url
from sqlmodel import Field

from runtime.connecting import with_keepalives
from runtime.deadline import begin_work, has_begun, time_to_wait
from runtime.health import NotSetUp
from runtime.listener import Listener
from runtime.metrics import POOL_TIMEOUTS
from runtime.refusal import Unavailable
from runtime.settings import Pooler, Settings, SettingsError
from runtime.statement_counts import StatementCounts
from runtime.tracing import TRACEPARENT, current_traceparent
from runtime.turns import Turns

log = structlog.stdlib.get_logger(__name__)

Row = TypeVar("Row")

CONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for PostgreSQL to take a connection; and for one's turn, unless the caller waits longer."""
MOST_WAITING: Final = 400
"""Calls that wait for a connection before anything was done for them; the next one is turned away."""


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


class _PoolExhausted(DatabaseAway):
    """Others have all connections, and kept them."""


class Connection:
    """A connection that statements run on.

    Statements are SQL with placeholders like ``%(name)s``. Where rows come back, `make` is called for each with its
    columns as keyword arguments. UUIDs are strings on both sides. ``%(traceparent)s``, which a statement may name as
    well, is that of the span around it, or NULL.

    Args:
        connection: psycopg's.
        counts: of the database.
        alone: whether each statement is a transaction of its own.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any], counts: StatementCounts, *, alone: bool) -> None:
        self._connection = connection
        self._counts = counts
        self._alone = alone

    async def execute(self, statement: LiteralString, /, **parameters: object) -> int:
        """Run a statement; the number of rows that it changed."""
        return (await self._run(self._connection.cursor(), statement, parameters)).rowcount

    async def fetch_one(
        self, make: Callable[..., Row], statement: LiteralString, /, **parameters: object
    ) -> Row | None:
        """The first row, if there is one."""
        cursor = self._connection.cursor(row_factory=kwargs_row(make))
        return await (await self._run(cursor, statement, parameters)).fetchone()

    async def fetch_all(self, make: Callable[..., Row], statement: LiteralString, /, **parameters: object) -> list[Row]:
        """Every row."""
        cursor = self._connection.cursor(row_factory=kwargs_row(make))
        return await (await self._run(cursor, statement, parameters)).fetchall()

    async def fetch_value(self, statement: LiteralString, /, **parameters: object) -> Any:
        """The first column of the first row; None without a row."""
        cursor = self._connection.cursor(row_factory=scalar_row)
        return await (await self._run(cursor, statement, parameters)).fetchone()

    async def _run(
        self, cursor: psycopg.AsyncCursor[Row], statement: LiteralString, parameters: dict[str, object]
    ) -> psycopg.AsyncCursor[Row]:
        """Run a statement, and count it; nothing of ours runs one elsewhere."""
        self._counts.statement(statement, alone=self._alone)
        parameters[TRACEPARENT] = current_traceparent()
        return await cursor.execute(statement, parameters)


def encode_rows(rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as one JSON parameter: ``FROM json_to_recordset(%(rows)s::json) AS row (name type, …)`` has them again.

    One statement for any number of rows, at half the cost of an array per column (docs/decisions/0010).
    """
    return msgspec.json.encode(list(rows)).decode()


class Database:
    """One service's database.

    Attributes:
        turns: at its connections.
        counts: what was run here so far.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int,
        pooler: Pooler = Pooler.NONE,
        listen_dsn: str | None = None,
        name: str = "database",
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """`listen_dsn` is one that LISTEN works on, for a `dsn` that leads to a pooler in transaction mode; the `name`
        is for metrics; `most_waiting` calls wait for a connection that have none yet."""
        self.dsn = dsn
        self.listen_dsn = listen_dsn or (None if pooler is Pooler.TRANSACTION else dsn)
        self._pooler = pooler
        self._timeouts = POOL_TIMEOUTS.labels(name)
        self.turns = Turns(pool_size, of="connection", error=_PoolExhausted, most_waiting=most_waiting)
        self.counts = StatementCounts(name)
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            with_keepalives(dsn),
            min_size=1,
            max_size=pool_size,
            timeout=CONNECT_TIMEOUT,
            # A failed connect is repeated once, a second later. Left alone, the pool would try for minutes at ever
            # longer intervals, and stay away from a database that is back; so, the next caller starts anew.
            reconnect_timeout=1.0,
            # What one statement prepared, the next one would look for on another connection of the pooler.
            kwargs={"autocommit": True, **({"prepare_threshold": None} if pooler is Pooler.TRANSACTION else {})},
            configure=_configure,
            check=self._check,
            open=False,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One READ COMMITTED transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            DatabaseAway: repeat.
            Shed, CallerGone: nothing was begun for the call.
        """
        async with self._connect() as connection, connection.transaction():
            self.counts.transaction()
            yield Connection(connection, self.counts, alone=False)

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        """Each statement a transaction of its own: for use cases of one statement, at a third of the cost.

        Raises:
            DatabaseAway: repeat.
            Shed, CallerGone: nothing was begun for the call.
        """
        async with self._connect() as connection:
            yield Connection(connection, self.counts, alone=True)

    def listen(self, channel: str, on_wake: Callable[[str], None]) -> Listener:
        """Wake-ups from the database's channel, see `Listener`.

        Raises:
            SettingsError: only a pooler in transaction mode is known, which forgets who listens.
        """
        if self.listen_dsn is None:
            raise SettingsError(
                "ORDERSAGA_LISTEN_DSNS lacks a DSN that reaches the service's database without the pooler: LISTEN does "
                "not work through one in transaction mode"
            )
        return Listener(self.listen_dsn, channel=channel, on_wake=on_wake)

    async def is_pooled(self) -> bool:
        """Whether its connections are a pooler's, of whose backends each statement may get another one.

        Raises:
            DatabaseAway: repeat.
        """
        try:
            async with await psycopg.AsyncConnection.connect(with_keepalives(self.dsn), autocommit=True) as connection:
                cursor = await connection.cursor(row_factory=scalar_row).execute("SELECT pg_backend_pid()")
                # PostgreSQL says at the start who it is; a pooler that stands in between makes something up.
                return await cursor.fetchone() != connection.info.backend_pid
        except psycopg.OperationalError as error:
            raise DatabaseAway(f"the database does not answer: {error}") from error

    async def find_problem(self, *, schema: str) -> str | None:
        """Why it cannot be used, in words: it is away, or its tables are older than this code's.

        Args:
            schema: the revision of the tables that this code was written for; newer ones will do.
        """
        try:
            # not one of the pool's, which says that it has none, and not why
            async with await psycopg.AsyncConnection.connect(with_keepalives(self.dsn), autocommit=True) as connection:
                cursor = connection.cursor(row_factory=scalar_row)
                found = await (await cursor.execute("SELECT version_num FROM alembic_version")).fetchone()
        except psycopg.OperationalError as error:
            return f"it does not answer: {error}"
        except (UndefinedTable, InsufficientPrivilege):
            return NotSetUp("it has no tables for us; run `ordersaga setup databases`")
        if found is None or found < schema:
            return NotSetUp(
                f"its tables are of revision {found}, and have to be of {schema}; run `ordersaga setup databases`"
            )
        return None

    @property
    def connections(self) -> int:
        """Open ones, in use or not."""
        return int(self._pool.get_stats()["pool_size"])

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            if self._pool.closed:
                await self._pool.open()
            # The pool itself waits for PostgreSQL, and gives up sooner: no server is not the same as a crowd.
            async with self.turns.take(wait=_patience(), however_many=has_begun()):
                begin_work()
                async with self._pool.connection() as connection:
                    yield connection
        except _PoolExhausted:
            self._timeouts.inc()
            raise
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
        SettingsError: the settings name none, or one that is reached through a pooler which they do not mention.
    """
    if given is not None:  # whoever gives it closes it
        yield given
        return
    name, dsn = f"ORDERSAGA_{service.upper()}_DSN", settings.required(f"{service}_dsn")
    listen_dsn = settings.listen_dsns.get(service)
    try:
        database = Database(
            dsn,
            pool_size=settings.database_pool_size,
            pooler=settings.database_pooler,
            listen_dsn=None if listen_dsn is None else listen_dsn.get_secret_value(),
            name=service,
            most_waiting=settings.database_most_waiting,
        )
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"{name} is no libpq connection URI: {error}") from None
    try:
        if settings.database_pooler is Pooler.NONE:
            await _refuse_pooler(database, name)
        yield database
    finally:
        await database.close()


def _patience() -> float:
    """How long a turn is waited for, seconds: as long as the caller waits; what was begun is finished without one."""
    callers = time_to_wait()
    return max(CONNECT_TIMEOUT if callers is None or has_begun() else 0, callers or 0)


async def _refuse_pooler(database: Database, name: str) -> None:
    try:
        if await database.is_pooled():
            raise SettingsError(
                f"{name} leads to a pooler, such as PgBouncer, and not to PostgreSQL itself: set "
                "ORDERSAGA_DATABASE_POOLER to the mode that the pooler is in, transaction or session"
            )
    except DatabaseAway as problem:
        log.warning("database.away", setting=name, problem=str(problem))


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_loader("uuid", TextLoader)
