"""What is measured of every service's database: its pool, its outbox, its clock, and the work that is due there.

The outbox is measured by who writes it, so that a relay that is dead or frozen is seen as well. Statements read the
rows that are open by the partial index that serves the work itself, and never more than `MOST` of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from runtime.clock import utc_now
from runtime.database import Connection, Database
from runtime.due_work import DueTable
from runtime.measuring import Measurement, Reading
from runtime.metrics import (
    CLOCK_SKEW_SECONDS,
    DUE_WORK_FAILING,
    DUE_WORK_LATE_SECONDS,
    DUE_WORK_WAITING,
    OUTBOX_OLDEST_SECONDS,
    OUTBOX_UNPUBLISHED,
    POOL_CONNECTIONS,
    POOL_MAX,
    POOL_PENDING,
)
from runtime.outbox import find_backlog

MOST: Final = 10_000
"""Up to which rows are counted."""

Read = Callable[[Connection], Awaitable[Iterable[Reading]]]
"""Reads what some gauges are to show; each statement is a transaction of its own."""


def database_measurements(
    service: str, database: Database, *, due: Mapping[str, DueTable[Any]] | None = None, reads: Iterable[Read] = ()
) -> list[Measurement]:
    """What is measured of a service's database.

    Args:
        service: whose it is.
        database: the database.
        due: the work that is due there, by the name of the work.
        reads: what else is read there.
    """

    async def ask() -> list[Reading]:
        async with database.autocommit() as connection:
            readings = [await _read_clock(connection, service), *await _read_outbox(connection, service)]
            for work, table in (due or {}).items():
                readings += await _read_due(connection, work, table)
            for read in reads:
                readings += await read(connection)
        return readings

    async def ask_pool() -> list[Reading]:
        used = database.turns.taken
        return [
            Reading(POOL_CONNECTIONS, used, (service, "used")),
            Reading(POOL_CONNECTIONS, max(database.connections - used, 0), (service, "idle")),
            Reading(POOL_MAX, database.turns.at_once, (service,)),
            Reading(POOL_PENDING, database.turns.waiting, (service,)),
        ]

    return [Measurement(f"pool/{service}", ask_pool), Measurement(f"database/{service}", ask)]


async def _read_clock(connection: Connection, service: str) -> Reading:
    asked_at = utc_now()
    theirs: datetime = await connection.fetch_value("SELECT clock_timestamp()")
    ours = asked_at + (utc_now() - asked_at) / 2
    return Reading(CLOCK_SKEW_SECONDS, (ours - theirs).total_seconds(), (f"postgresql/{service}",))


async def _read_outbox(connection: Connection, service: str) -> list[Reading]:
    backlog = await find_backlog(connection, most=MOST)
    return [
        Reading(OUTBOX_UNPUBLISHED, backlog.events, (service,)),
        Reading(OUTBOX_OLDEST_SECONDS, backlog.oldest_seconds, (service,)),
    ]


async def _read_due(connection: Connection, work: str, table: DueTable[Any]) -> list[Reading]:
    backlog = await table.find_backlog(connection, most=MOST)
    return [
        Reading(DUE_WORK_WAITING, backlog.waiting, (work,)),
        Reading(DUE_WORK_FAILING, backlog.failing, (work,)),
        Reading(DUE_WORK_LATE_SECONDS, backlog.late_seconds, (work,)),
    ]
