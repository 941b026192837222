"""What the databases need before the services start: migrations, the first admin, and their history to be published.

Migrating and making the admin is a process of its own that takes seconds, most of them for imports. A comment on each
database says what has been done to it, so that a start which finds all of them current goes without.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from sandbox.child import Command, run_to_completion
from sandbox.postgres.databases import SERVICES, database_name

SETUP_SECONDS = 60.0
ROOT: Final = Path(__file__).parents[1]

_VERSION: Final = "SELECT version_num FROM alembic_version"
_MARK: Final = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"

Connection = psycopg.AsyncConnection[Any]


def digest(secrets: Iterable[str]) -> str:
    """A digest of what a set-up is made from: migrations, the code that runs them, and these secrets."""
    sources = [*sorted((ROOT / "migrations").rglob("*.py")), *sorted((ROOT / "cli" / "setup").glob("*.py"))]
    whole = hashlib.sha256()
    for content in (*(source.read_bytes() for source in sources), *(secret.encode() for secret in secrets)):
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


async def set_up_databases(
    *, admin: str | None, server: asyncio.Task[None], is_new: bool, command: Command, state: str
) -> None:
    """Bring every database to where the services can start on it.

    Args:
        admin: the server as superuser; None if it is external, where marks are not ours to make.
        server: done when it answers.
        is_new: it has no data yet: the command is started at once, and held until the server answers.
        command: migrates all databases and makes the admin.
        state: the `digest` of what the command makes; it is left out where that is made.

    Raises:
        StackError: the command failed.
    """
    if admin is None:
        await run_to_completion(command, within=SETUP_SECONDS)
        return
    if is_new:
        await run_to_completion(command, within=SETUP_SECONDS, after=asyncio.shield(server))
    else:
        await server
        if not all(await asyncio.gather(*(_is_current(admin, service, state) for service in SERVICES))):
            await run_to_completion(command, within=SETUP_SECONDS)
    await asyncio.gather(*(_mark(admin, service, state) for service in SERVICES))


async def publish_again(dsns: Iterable[str]) -> None:
    """Have the relay publish the whole history to a new broker; consumers know repeats by `ce_id`.

    To be done before that broker is there: else it could get a key's later events first, those that the one before it
    never got. A relay that runs loses its lease, and takes it anew: it must not mark what it sent to the broker before.

    Args:
        dsns: every database, as its owner.
    """

    async def forget(dsn: str) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute("UPDATE relay_lease SET epoch = epoch + 1")
            await connection.execute("UPDATE outbox SET published_at = NULL WHERE published_at IS NOT NULL")

    await asyncio.gather(*(forget(dsn) for dsn in dsns))


async def _is_current(admin: str, service: str, state: str) -> bool:
    async with await _connect(admin, service) as connection:
        mark = await _value(connection, _MARK)
        try:
            return mark is not None and mark == f"{state} {await _value(connection, _VERSION)}"
        except psycopg.errors.UndefinedTable:  # somebody has emptied it since
            return False


async def _mark(admin: str, service: str, state: str) -> None:
    async with await _connect(admin, service) as connection:
        mark = f"{state} {await _value(connection, _VERSION)}"
        database = sql.Identifier(database_name(service))
        await connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, mark))


async def _connect(admin: str, service: str) -> Connection:
    return await psycopg.AsyncConnection.connect(admin, dbname=database_name(service))


async def _value(connection: Connection, query: LiteralString) -> str | None:
    row = await (await connection.execute(query)).fetchone()
    return None if row is None else row[0]
