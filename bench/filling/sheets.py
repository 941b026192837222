"""Rows on their way into tables, by COPY."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Self

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import Table
from sqlmodel import SQLModel

from bench.filling.ids import drawn_traceparent
from runtime.outbox import OutboxColumns

Row = tuple[object, ...]


class Sheet:
    """Rows of one table that are not written yet.

    Attributes:
        rows: a value for each named column.

    Raises:
        LookupError: a name is none of the table's, or one is missing that every row needs.
    """

    def __init__(self, table: type[SQLModel], *names: str) -> None:
        described: Table = vars(table)["__table__"]
        self.table = described.name
        self.rows: list[Row] = []
        self._names = names
        if unknown := set(names) - set(described.columns.keys()):
            raise LookupError(f"{self.table} has no column {', '.join(sorted(unknown))}")
        needed = {
            column.name
            for column in described.columns
            if not column.nullable and column.server_default is None and column.identity is None
        }
        if missing := needed - set(names):
            raise LookupError(f"a row of {self.table} needs {', '.join(sorted(missing))}")

    def add(self, *values: object) -> None:
        """One row: its values in the order of the names."""
        self.rows.append(values)

    def statement(self) -> sql.Composed:
        """What the rows are the input of."""
        names = sql.SQL(", ").join(map(sql.Identifier, self._names))
        return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(self.table), names)

    def take(self) -> list[Row]:
        """The rows, which are somebody else's from here on."""
        rows, self.rows = self.rows, []
        return rows


class Events(Sheet):
    """Rows of an outbox that were published."""

    def __init__(self, table: type[OutboxColumns], *, topic: str, aggregate: str, random: Random) -> None:
        super().__init__(
            table, "topic", "key", "ce_id", "ce_type", "ce_seq", "data", "traceparent", "at", "published_at"
        )
        self._topic = topic
        self._aggregate = aggregate
        self._random = random

    def add_event(
        self, kind: str, *, of: str, seq: int, key: str, cause: str, data: str, at: datetime, published_at: datetime
    ) -> None:
        """Event number `seq` of an aggregate."""
        trace = drawn_traceparent(self._random, cause)
        self.add(self._topic, key, f"{self._aggregate}:{of}:{seq}", kind, seq, data, trace, at, published_at)


def to_json(data: dict[str, Any] | list[dict[str, Any]]) -> str:
    """As events have it."""
    return msgspec.json.encode(data).decode()


class Writer:
    """Writes sheets to one database, a batch after the other, while the next one is made. A context manager.

    Every batch is one transaction, its tables in their order.
    """

    def __init__(self, dsn: str, sheets: Sequence[Sheet]) -> None:
        self._dsn = dsn
        self._sheets = sheets
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fill")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        # Rows that a crash loses are filled again: nothing here waits for a disk.
        self._connection = psycopg.connect(self._dsn, options="-c synchronous_commit=off")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self._connection.close()

    def write(self) -> None:
        """Begin to write what the sheets have, once the batch before is written."""
        self.wait()
        batch = [(sheet.statement(), sheet.take()) for sheet in self._sheets if sheet.rows]
        self._under_way = self._thread.submit(self._write, batch)

    def wait(self) -> None:
        """Until all is written."""
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None

    def finish(self) -> None:
        """Write the rest, and let the planner, and index-only scans, know of all of it."""
        self.write()
        self.wait()
        self._connection.autocommit = True
        self._connection.execute("VACUUM (ANALYZE)")

    def _write(self, batch: Sequence[tuple[sql.Composed, list[Row]]]) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for statement, rows in batch:
                with cursor.copy(statement) as copy:
                    for row in rows:
                        copy.write_row(row)
