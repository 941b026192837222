"""Reading a service's tables in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from psycopg import sql

from runtime.database import Database


async def fetch_rows(database: Database, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a statement, whose placeholders are like ``%(name)s``; what it changes is committed."""
    async with database.autocommit() as connection:
        rows: list[dict[str, Any]] = await connection.fetch_all(dict, statement, **parameters)
        return [tuple(row.values()) for row in rows]


Rows = Callable[[], dict[str, int]]


@contextmanager
def counting_rows(databases: Mapping[str, str]) -> Iterator[Rows]:
    """Counts the rows of every table of every service."""
    with ExitStack() as stack:
        queries = []
        for dsn in databases.values():
            connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            names = [str(name) for (name,) in tables]
            counts = [sql.SQL("(SELECT count(*) FROM {})").format(sql.Identifier(name)) for name in names]
            queries.append((connection, names, sql.SQL("SELECT {}").format(sql.SQL(", ").join(counts))))

        def count() -> dict[str, int]:
            found: dict[str, int] = {}
            for connection, names, query in queries:
                row = connection.execute(query).fetchone()
                assert row is not None
                found |= {f"{connection.info.dbname}.{name}": int(n) for name, n in zip(names, row, strict=True)}
            return found

        yield count
