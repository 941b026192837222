"""What work costs PostgreSQL: blocks that its statements touch, and CPU of the one process that runs them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Self

import psycopg
from psycopg.rows import scalar_row

from bench.cpu import cpu_seconds
from runtime.connecting import with_keepalives

Work = Callable[[psycopg.AsyncConnection[Any]], Awaitable[object]]

_FEWEST: Final = 20
_AT_LEAST: Final = 0.3
"""Seconds of CPU, counted in hundredths, that make a figure."""
_LONGEST: Final = 10.0
"""Seconds that one piece of work is repeated for."""
_EXPLAINED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one piece of work: milliseconds of PostgreSQL's CPU, and blocks of its cache or disk."""

    cpu_ms: float
    blocks: float


async def cost_of(dsn: str, work: Work) -> Cost:
    """What it costs, over and over on one connection; whatever it changes is taken back."""
    async with await psycopg.AsyncConnection.connect(with_keepalives(dsn)) as connection:
        connection.adapters.register_loader("uuid", psycopg.types.string.TextLoader)
        blocks = [await _blocks_of(connection, work) for _ in range(_EXPLAINED)]
        process = {"backend": connection.info.backend_pid}
        before, began, times = cpu_seconds(process)["backend"], time.monotonic(), 0
        while True:
            await work(connection)
            await connection.rollback()
            times += 1
            used, lasted = cpu_seconds(process)["backend"] - before, time.monotonic() - began
            if times >= _FEWEST and (used >= _AT_LEAST or lasted >= _LONGEST):
                return Cost(cpu_ms=used / times * 1_000, blocks=median(blocks))


async def _blocks_of(connection: psycopg.AsyncConnection[Any], work: Work) -> int:
    touched: list[int] = []

    class ExplainedCursor(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
            plain = psycopg.AsyncCursor(self.connection, row_factory=scalar_row)
            await plain.execute("SAVEPOINT explained")
            await plain.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}".encode(), params)
            [[explained]] = await plain.fetchall()
            await plain.execute("ROLLBACK TO SAVEPOINT explained")
            touched.append(explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"])
            return await super().execute(query, params, **options)

    usual, connection.cursor_factory = connection.cursor_factory, ExplainedCursor
    try:
        await work(connection)
    finally:
        connection.cursor_factory = usual
        await connection.rollback()
    return sum(touched)
