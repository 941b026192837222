"""Statements as they are run, each with its plan: what PostgreSQL did for it, and what it would do unseen.

A recorded cursor has PostgreSQL explain every statement before it runs it, with the values that it runs it with; what
the explanation changed is taken back.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.rows import scalar_row

from runtime.database import Connection, Database

ROOT: Final = Path(__file__).parents[2]

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """A line of our code, by its file."""

    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What became of one statement.

    Attributes:
        where: the method that ran it.
        done: the plan with these values, as it was carried out.
        generic: the plan for any values; None for a statement without values.
    """

    statement: str
    where: str
    done: Node
    generic: Node | None


def nodes_of(root: Node) -> Iterator[Node]:
    """The node with all below it."""
    yield root
    for child in root.get("Plans", ()):
        yield from nodes_of(child)


@dataclass(slots=True)
class Recorder:
    """What was run so far."""

    plans: list[Plan] = field(default_factory=list)
    sites: set[Site] = field(default_factory=set)

    def cursor_class(self) -> type[psycopg.AsyncCursor[Any]]:
        """Cursors that are recorded."""
        recorder = self

        class RecordedCursor(psycopg.AsyncCursor[Any]):
            async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
                where = recorder._note_sites()
                plain = psycopg.AsyncCursor(self.connection, row_factory=scalar_row)
                recorder.plans.append(
                    Plan(
                        statement=str(query),
                        where=where,
                        done=await _explain(plain, str(query), params),
                        generic=await _explain_generic(plain, str(query), params),
                    )
                )
                return await super().execute(query, params, **options)

        return RecordedCursor

    def _note_sites(self) -> str:
        """Remember who is on the way to this statement; the one of them that has it."""
        where, frame = "", sys._getframe(2)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / ".venv"):
                file = str(path.relative_to(ROOT))
                self.sites.add(Site(file, frame.f_lineno))
                if file != "runtime/database.py":
                    where = where or f"{file} {frame.f_code.co_qualname}"
            frame = frame.f_back  # type: ignore[assignment]  # None ends it
        return where


@asynccontextmanager
async def recorded_database(dsn: str, recorder: Recorder) -> AsyncIterator[RecordedDatabase]:
    """A service's database whose statements are recorded. Nothing is ever committed."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        connection.adapters.register_loader("uuid", psycopg.types.string.TextLoader)
        connection.cursor_factory = recorder.cursor_class()
        connection.prepare_threshold = None  # a generic plan is asked for by a text with parameters and no values
        yield RecordedDatabase(dsn, connection)
        await connection.rollback()


class RecordedDatabase(Database):
    """A database of one connection, on which everything is one transaction.

    Attributes:
        raw: that connection.
        connection: the same, as services have it.
    """

    def __init__(self, dsn: str, connection: psycopg.AsyncConnection[Any]) -> None:
        super().__init__(dsn, pool_size=1)
        self.raw = connection
        self.connection = Connection(connection, self.counts, alone=False)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        yield self.raw

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """What is changed meanwhile is taken back."""
        async with self.raw.transaction(force_rollback=True):
            yield


async def _explain(cursor: psycopg.AsyncCursor[Any], statement: str, params: Any) -> Node:
    await cursor.execute("SAVEPOINT explained")
    await cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}".encode(), params)
    explained = await cursor.fetchall()
    await cursor.execute("ROLLBACK TO SAVEPOINT explained")
    return _plan_in(explained)


async def _explain_generic(cursor: psycopg.AsyncCursor[Any], statement: str, params: Any) -> Node | None:
    if not params:
        return None
    query = PostgresQuery(Transformer.from_context(cursor.connection))
    query.convert(statement, params)
    text = query.query.decode()
    for number, oid in reversed(list(enumerate(query.types, start=1))):
        text = text.replace(f"${number}", f"${number}{_cast(cursor.connection, oid)}")
    await cursor.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {text}".encode())
    return _plan_in(await cursor.fetchall())


def _plan_in(explained: list[Any]) -> Node:
    """The one plan that PostgreSQL's JSON has."""
    [[plan]] = explained
    node: Node = plan["Plan"]
    return node


def _cast(connection: psycopg.AsyncConnection[Any], oid: int) -> str:
    """The type that psycopg says the value has; nothing where it leaves that to PostgreSQL."""
    found = connection.adapters.types.get(oid)
    if found is None:
        return ""
    return f"::{found.regtype}[]" if oid == found.array_oid else f"::{found.regtype}"
