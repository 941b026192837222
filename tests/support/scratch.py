"""A schema of a test module's own, for tables that no service has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from sqlmodel import SQLModel

from runtime.database import Database

SCHEMA = "tests"


class Scratch:
    """A schema in which a test module has tables."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
        self.dsn = make_conninfo(dsn, options=f"-c search_path={SCHEMA}")

    def create(self, *tables: type[SQLModel]) -> None:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        with psycopg.connect(self.dsn) as connection:
            for table in tables:
                statement = str(CreateTable(vars(table)["__table__"]).compile(dialect=dialect))
                connection.execute(statement.encode())

    @asynccontextmanager
    async def database(self, *, pool_size: int = 4) -> AsyncIterator[Database]:
        """As one process sees it."""
        database = Database(self.dsn, pool_size=pool_size)
        try:
            yield database
        finally:
            await database.close()
