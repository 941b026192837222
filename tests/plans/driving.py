"""Running every statement of a database, one after the other, each as if no other had been."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from domain.ids import new_id
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Connection
from runtime.database_measuring import database_measurements
from runtime.due_work import Claimed, DueTable
from runtime.idempotency import IdempotencyKeys, IdempotentRequest
from runtime.on_call import read_events
from runtime.outbox import Event
from runtime.retention import DUE_RULES, Rule, delete_batch
from tests.plans.recording import RecordedDatabase
from tests.support.retention import rules_of

Call = Callable[[Connection], Awaitable[object]]
Item = TypeVar("Item")

NOW: Final = datetime.now(UTC)
MINUTE: Final = timedelta(minutes=1)
BATCH: Final = 10
"""What is claimed at once."""
PAGE: Final = 50
"""Of a list."""
DRIVEN_TABLES: Final[set[int]] = set()
"""Identities of the tables of due work that were driven."""


async def run(database: RecordedDatabase, *calls: Call) -> None:
    """Run each, and take back what it changed."""
    for call in calls:
        async with database.undone():
            await call(database.connection)


async def run_due(database: RecordedDatabase, table: DueTable[Item], *calls: Callable[[Claimed[Item]], Call]) -> None:
    """Run every statement of a table of due work, and what is done to what was claimed there."""
    DRIVEN_TABLES.add(id(table))

    async def with_claimed(call: Callable[[Claimed[Item]], Call], connection: Connection) -> None:
        claimed = await table.claim(connection, limit=BATCH, lease=MINUTE)
        assert claimed, "something is due"
        await call(claimed[0])(connection)

    own: Sequence[Callable[[Claimed[Item]], Call]] = (
        lambda claimed: lambda connection: table.reschedule(connection, claimed, delay=MINUTE, error="away"),
        lambda claimed: lambda connection: table.dead_letter(connection, claimed, error="never"),
        lambda claimed: lambda connection: table.release(connection, claimed),
    )
    await run(database, lambda connection: table.find_backlog(connection, most=PAGE))
    for call in (*own, *calls):
        async with database.undone():
            await with_claimed(call, database.connection)


async def run_common(database: RecordedDatabase, service: str, *, reads: Sequence[Any] = ()) -> None:
    """What every service has: its gauges, events by their ids, and what is deleted when it is old."""
    for measurement in database_measurements(service, database, reads=reads):
        async with database.undone():
            await measurement.ask()
    ids = [f"{service}:{new_id()}:1" for _ in range(BATCH)]
    await run(database, lambda connection: read_events(connection, ids))
    DRIVEN_TABLES.add(id(DUE_RULES))
    for rule in rules_of(service):
        async with database.undone():
            await _delete_by(database, rule)


async def _delete_by(database: RecordedDatabase, rule: Rule) -> None:
    due = await DUE_RULES.claim(database.connection, limit=PAGE, lease=MINUTE)
    [claimed] = [each for each in due if each.item.name == rule.name]
    await delete_batch(database, replace(rule, kept=timedelta(0)), claimed, None)


async def run_keys(database: RecordedDatabase) -> None:
    """Idempotency keys: claimed and found."""
    request = IdempotentRequest.of({"a": 1}, user_id=new_id(), route="POST /v1/orders", key="key", wait=1)

    async def claim_and_find(connection: Connection) -> None:
        await IdempotencyKeys(connection).claim(request, subject_id=new_id())
        await IdempotencyKeys(connection).get_first(request)

    await run(database, claim_and_find)


def an_event(topic: str, *, of: str, seq: int = 1) -> Event:
    """An event that something of ours has; what it says does not matter here."""
    return Event(
        topic=topic,
        key=of,
        type="something.happened",
        aggregate="something",
        aggregate_id=of,
        seq=seq,
        data=OrderTransitioned(order_id=of),
        cause_id=of,
        at=NOW,
    )
