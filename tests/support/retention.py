"""Retention in tests: databases of their own, rules as the services have them, and a pass over all that is due."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from domain.ids import new_id
from runtime.database import Database
from runtime.due_worker import DueWorker
from runtime.retention import DueRule, Rule
from runtime.settings import Settings

DAY = timedelta(days=1)


def rules_of(service: str, **settings: Any) -> Sequence[Rule]:
    """The rules of a service, by these settings."""
    rules: Sequence[Rule] = importlib.import_module(f"services.{service}.retention").rules(Settings(**settings))
    return rules


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """A database as one process sees it."""
    database = Database(dsn, pool_size=4)
    try:
        yield database
    finally:
        await database.close()


async def delete_old(worker: DueWorker[DueRule], database: Database) -> None:
    """A pass over every table, as if it were time for one."""
    async with database.autocommit() as connection:
        await connection.execute("UPDATE retention SET next_attempt_at = now(), after = NULL")
    await worker.process_due()


async def noted(database: Database, rule: str) -> tuple[int, datetime | None]:
    """How many rows were deleted, and the latest moment among them."""
    async with database.autocommit() as connection:
        row = await connection.fetch_one(
            dict[str, Any], "SELECT deleted, horizon FROM retention WHERE name = %(rule)s", rule=rule
        )
    assert row is not None
    return row["deleted"], row["horizon"]


async def add_event(
    database: Database, *, age: timedelta, published: timedelta | None, ce_id: str | None = None, data: str = "{}"
) -> str:
    """An event that was written, and published, so long ago; None: not yet. Its id."""
    ce_id = ce_id or f"thing:{new_id()}:1"
    async with database.autocommit() as connection:
        await connection.execute(
            """
            INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at, published_at)
            VALUES ('order-events', split_part(%(ce_id)s, ':', 2), %(ce_id)s, 'order.paid',
                    split_part(%(ce_id)s, ':', 3)::bigint, %(data)s, '', now() - %(age)s,
                    now() - %(published)s::interval)
            """,
            ce_id=ce_id,
            data=data,
            age=age,
            published=published,
        )
    return ce_id
