"""The databases of one installation: emptied between cases, and read as a whole when a case is looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from cli.audit.read_databases import Connection

_RESET_SWEEP: Final = """
    UPDATE event_sweep SET swept_until = now() - interval '10 min', next_attempt_at = now(), attempts = 0
"""


class CaseDatabases:
    """One connection to each database of an installation, beside those of its services.

    Args:
        connections: by service.
        deletions: by service, what empties its tables.
    """

    def __init__(self, connections: Mapping[str, Connection], deletions: Mapping[str, bytes]) -> None:
        self._connections = connections
        self._deletions = deletions

    def __getitem__(self, service: str) -> Connection:
        return self._connections[service]

    async def empty(self) -> None:
        """Delete every row: of the few that a case leaves that takes a millisecond, where TRUNCATE takes 85.

        Stripe's events are swept from ten minutes ago on, as in a new installation.
        """
        for service, connection in self._connections.items():
            await connection.execute(self._deletions[service])
        await self.execute("payment", _RESET_SWEEP)

    async def rows(self, service: str, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """What a query finds."""
        async with self._connections[service].cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def execute(self, service: str, statement: str) -> None:
        """Run a statement."""
        await self._connections[service].execute(statement.encode())


@asynccontextmanager
async def open_databases(dsns: Mapping[str, str]) -> AsyncIterator[CaseDatabases]:
    """Connect to each, as a role that owns its tables.

    Args:
        dsns: service to DSN.
    """
    async with AsyncExitStack() as stack:
        connections, deletions = dict[str, Connection](), dict[str, bytes]()
        for service, dsn in dsns.items():
            connection = await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
            connections[service] = connection
            deletions[service] = await _deletion(connection)
        yield CaseDatabases(connections, deletions)


async def _deletion(connection: Connection) -> bytes:
    """Empties all tables, those that others refer to last, but for rows that migrations make."""
    found = await connection.execute(
        """
        SELECT relname, (SELECT count(*) FROM pg_constraint WHERE confrelid = pg_class.oid) AS referred_to
          FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
           AND relname NOT IN ('alembic_version', 'relay_lease', 'event_sweep', 'looks', 'retention')
         ORDER BY referred_to, relname
        """
    )
    tables = [name for name, _ in await found.fetchall()]
    deletions = sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in tables)
    return deletions.as_bytes(connection)
