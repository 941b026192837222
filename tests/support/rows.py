"""Reading a service's tables in tests."""

from __future__ import annotations

from typing import Any

from runtime.database import Database


async def fetch_rows(database: Database, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a statement, whose placeholders are like ``%(name)s``; what it changes is committed."""
    async with database.autocommit() as connection:
        rows: list[dict[str, Any]] = await connection.fetch_all(dict, statement, **parameters)
        return [tuple(row.values()) for row in rows]
