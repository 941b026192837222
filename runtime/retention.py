"""What is no history is deleted once it is old enough: the oldest first, some rows at a time, beside all other work.

Each table from which rows are deleted has a row in its database's table ``retention``, which is due work like any other
(`runtime.due_work`): of several processes one works at a table, and another goes on where that one was killed. A batch
is a transaction of its own, and so is what it notes: how far it came, and the `horizon`, the latest moment of what it
deleted. Whoever misses a row asks the horizon whether it may have been deleted: that says what was done, whatever the
settings say by now.

What is open is never deleted, however old: the rule of its table leaves it out (`services/*/retention.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString

import structlog
from sqlalchemy import BigInteger, Text
from sqlmodel import Field

from runtime.backoff import Backoff
from runtime.database import Database, timestamp
from runtime.due_work import Claimed, DueColumns, DueTable
from runtime.due_worker import DueWorker
from runtime.metrics import EXPIRED_ROWS
from runtime.refusal import Unavailable
from runtime.rows import Value

log = structlog.stdlib.get_logger(__name__)

AT_ONCE: Final = 500
"""Rows that one batch looks at: a few milliseconds, for which it holds locks that nobody else asks for."""
INTERVAL: Final = timedelta(minutes=10)
"""From the end of one pass over a table to the next."""
_PAUSE: Final = 0.05
"""Seconds between two batches, so that they are a small part of what the database does."""
_TURN: Final = 10.0
"""Seconds after which another table has its turn."""
_LEASE: Final = timedelta(seconds=30)
"""Several times a turn."""
_POLL: Final = 30.0
"""Seconds from one search for what is due to the next: nothing waits for it."""
_BACKOFF: Final = Backoff(first=5, longest=300)


class RetentionColumns(DueColumns):
    """The columns of every database's table ``retention``."""

    name: str = Field(primary_key=True, sa_type=Text)
    """Of the rule."""
    after: str | None = Field(default=None, sa_type=Text)
    """The key behind which the pass goes on; NULL between two passes."""
    horizon: datetime | None = timestamp(default=None, nullable=True)
    """The latest moment of all rows that were deleted; NULL before the first was. What is younger is there."""
    deleted: int = Field(default=0, sa_type=BigInteger)
    """How many that were, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What of a table is deleted, from when on.

    Attributes:
        name: of its row in ``retention``: that of the table, unless there are two rules for one.
        table: from which rows are deleted.
        kept: how old a row becomes.
        statement: deletes a batch; answers a `Batch`. Parameters: ``kept``, ``limit``, and ``after``, the last answer's
            or `first`.
        first: what comes before every key.
    """

    name: LiteralString
    table: LiteralString
    kept: timedelta
    statement: LiteralString
    first: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a batch did.

    Attributes:
        deleted: how many rows.
        horizon: the latest moment of these; None without any.
        more: whether there may be more that is old enough.
        after: the key of the last row that was looked at, for a rule that goes by keys.
    """

    deleted: int
    horizon: datetime | None
    more: bool
    after: str | None


def delete_by_age(
    table: LiteralString,
    *,
    at: LiteralString,
    kept: timedelta,
    among: LiteralString = "true",
    change: LiteralString = "",
) -> Rule:
    """The rule of a table of which everything goes that is old enough, found by an index.

    Args:
        table: its name.
        at: the column that says how old a row is; the index is on it.
        kept: how old a row becomes.
        among: SQL condition of the rows that go at all; that of the index, if it is a partial one.
        change: what becomes of the rows, such as ``UPDATE … SET …``, in place of their deletion.
    """
    statement: LiteralString = f"""
        WITH old AS MATERIALIZED (
            SELECT ctid FROM {table} WHERE {among} AND {at} < now() - %(kept)s
             ORDER BY {at} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ),
        gone AS (
            {change or f"DELETE FROM {table}"} WHERE ctid = ANY(ARRAY(SELECT ctid FROM old)) RETURNING {at} AS at
        )
        SELECT count(*) AS deleted, max(at) AS horizon, count(*) = %(limit)s AS more, NULL AS after FROM gone
    """  # noqa: S608 - put together from constants
    return Rule(name=table, table=table, kept=kept, statement=statement)


def delete_by_key(
    table: LiteralString,
    *,
    key: LiteralString,
    key_type: LiteralString,
    first: str,
    at: LiteralString,
    goes: LiteralString,
    kept: timedelta,
    archive: LiteralString = "",
) -> Rule:
    """The rule of a table whose keys rise with time, and which is read from its beginning without another index.

    Rows that stay, since they are open, are passed over; a pass ends where they are young.

    Args:
        table: its name.
        key: its primary key.
        key_type: the type of that.
        first: what comes before every key.
        at: SQL of when a row began; it rises with the key, about.
        goes: SQL condition of a row that is old enough and not open, with the parameter ``kept``.
        kept: how old a row becomes.
        archive: a CTE that keeps something of the deleted rows, ``gone``.
    """
    statement: LiteralString = f"""
        WITH looked AS MATERIALIZED (
            SELECT {key} AS key, {goes} AS goes, {at} >= now() - %(kept)s AS is_young
              FROM {table} WHERE {key} > %(after)s::{key_type} ORDER BY {key} LIMIT %(limit)s
        ),
        gone AS (
            DELETE FROM {table} WHERE {key} = ANY(ARRAY(SELECT key FROM looked WHERE goes)) AND {goes} RETURNING *
        ){f", archived AS ({archive})" if archive else ""}
        SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT max({at}) FROM gone) AS horizon,
               count(*) = %(limit)s AND NOT bool_or(is_young) AS more,
               (SELECT key::text FROM looked ORDER BY looked.key DESC LIMIT 1) AS after
          FROM looked
    """  # noqa: S608 - put together from constants
    return Rule(name=table, table=table, kept=kept, statement=statement, first=first)


class DueRule(Value):
    """A rule that is due; `after` is where the turn before stopped."""

    name: str
    after: str | None


DUE_RULES: Final = DueTable(
    table="retention", key="name", pending="true", columns="claimed.name, claimed.after", make=DueRule
)
_NOTE: Final = f"""
    UPDATE retention
       SET after = %(after)s, horizon = greatest(horizon, %(horizon)s::timestamptz), deleted = deleted + %(deleted)s
     WHERE {DUE_RULES.still_claimed}
"""  # noqa: S608 - put together from constants


class _ClaimLost(Unavailable):
    """Another process works at the table by now."""


def retention_worker(service: str, database: Database, rules: Sequence[Rule]) -> DueWorker[DueRule]:
    """What deletes by these rules, each of which has a row in the database's table ``retention``.

    At a stop it ends at once: the batch in progress is rolled back.

    Args:
        service: whose database it is, for metrics and the log.
        database: of the service.
        rules: one for each row.
    """
    named = {rule.name: rule for rule in rules}
    for rule in rules:
        EXPIRED_ROWS.labels(service, rule.table)  # from 0 on

    async def process(claimed: Claimed[DueRule]) -> timedelta:
        loop = asyncio.get_running_loop()
        rule, after = named.get(claimed.item.name), claimed.item.after
        if rule is None:  # of a newer release, which runs beside this one: its processes have it next
            return INTERVAL
        started, deleted = loop.time(), 0
        while True:
            batch = await delete_batch(database, rule, claimed, after)
            EXPIRED_ROWS.labels(service, rule.table).inc(batch.deleted)
            deleted, after = deleted + batch.deleted, batch.after
            if not batch.more or loop.time() - started >= _TURN:
                break
            await asyncio.sleep(_PAUSE)
        if deleted:
            log.info("retention.deleted", database=service, rule=rule.name, rows=deleted, is_done=not batch.more)
        return timedelta(0) if batch.more else INTERVAL

    return DueWorker(
        f"retention/{service}",
        database=database,
        table=DUE_RULES,
        process=process,
        concurrency=1,
        lease=_LEASE,
        backoff=_BACKOFF,
        poll=_POLL,
        grace=0,
    )


async def delete_batch(database: Database, rule: Rule, claimed: Claimed[DueRule], after: str | None) -> Batch:
    """Delete some rows by a rule that is claimed, from where its pass is, and note that in the same transaction.

    Raises:
        Unavailable: the claim was lost; nothing is deleted.
    """
    async with database.transaction() as connection:
        batch = await connection.fetch_one(
            Batch, rule.statement, kept=rule.kept, limit=AT_ONCE, after=after or rule.first
        )
        if batch is None:
            raise LookupError(f"the statement of {rule.name} answers nothing")
        noted = await connection.execute(
            _NOTE,
            **claimed.parameters,
            after=batch.after if batch.more else None,
            horizon=batch.horizon,
            deleted=batch.deleted,
        )
        if not noted:
            raise _ClaimLost(f"somebody else works at {rule.table}")
    return batch
