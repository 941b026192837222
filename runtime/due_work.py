"""Work that is due: rows that are processed until they are done, by any number of processes.

A row waits in its own table, with the columns of `DueColumns`. Whoever processes it claims it first: until the lease
ends nobody else gets it, and what a killed process had claimed is due again then. What fails is tried again, later each
time, while the rest goes on; what can never succeed is dead-lettered. `runtime.due_worker` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, LiteralString, TypeVar

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from runtime.database import Connection, timestamp

Item = TypeVar("Item")


class DueColumns(SQLModel):
    """The columns of what is processed when it is due; it wants a partial index on ``next_attempt_at``."""

    attempts: int
    """Attempts begun since the last one that did not fail."""
    next_attempt_at: datetime = timestamp()
    """When it is due; while it is being processed, the end of the lease."""
    last_error: str | None = Field(default=None, sa_type=Text)
    """Why the last attempt failed, in words."""
    traceparent: str | None = Field(default=None, sa_type=Text)
    """Of the span in which it became due, while traces are on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Generic[Item]):
    """An item that one process may work at until its lease ends.

    Attributes:
        key: of its row.
        attempt: number of this attempt, from 1.
        lease_ends_at: by PostgreSQL's clock; no other claim of the same row has the same.
        traceparent: of the span in which it became due.
    """

    key: str
    item: Item
    attempt: int
    lease_ends_at: datetime
    traceparent: str | None = None

    @property
    def parameters(self) -> Mapping[str, object]:
        """The parameters of `DueTable.still_claimed`."""
        return {"claimed_key": self.key, "claimed_until": self.lease_ends_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class DueBacklog:
    """What a table has still to be processed.

    Attributes:
        waiting: rows that are not done, whether due or not.
        failing: those of them whose last attempt failed.
        late_seconds: how long that one has been due which was due first; 0 if none is.
    """

    waiting: int
    failing: int
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Generic[Item]):
    """New items: those that their storing claimed, and how many others are due."""

    claimed: Sequence[Claimed[Item]]
    left_due: int = 0


NO_LEASE: Final = timedelta(0)
"""Of what is stored without being claimed."""
_NOTHING: Final = DueBacklog(waiting=0, failing=0, late_seconds=0)


class DueTable(Generic[Item]):
    """The rows of a table that are to be processed. Every method is one statement on the caller's connection.

    Args:
        table: its name.
        key: the column that names a row.
        pending: SQL condition of a row that is not done; it may name the table, and has to imply the condition of the
            index on ``next_attempt_at``.
        ready: SQL condition of a pending row that can be processed now, for those that wait for others of the table.
        columns: what an item is made of, read from the claimed row, ``claimed``.
        make: makes an item of these, by name.
        joined: what is joined with ``claimed`` to read them, such as ``JOIN payments ON …``.
        dead_letter: the SET clause that ends a row which can never be processed; None where there is no such end, and
            the row is tried for ever.
        failing_since: whether the table has a column of that name, which says when the first attempt failed of those
            since the last one that did not; whoever records that a row is done for now sets it to NULL.

    Attributes:
        select_claimed: the end of a statement that claims rows, or stores new ones which it claims: what comes
            back of the rows of ``claimed``, see `store`.
        still_claimed: SQL condition that a row is claimed as it was, and not done, for the statement of a service that
            records that it is done; its parameters are those of the `Claimed`. When the lease has ended, and somebody
            else has claimed the row, such a statement changes nothing.
    """

    def __init__(
        self,
        *,
        table: LiteralString,
        key: LiteralString,
        pending: LiteralString,
        columns: LiteralString,
        make: Callable[..., Item],
        ready: LiteralString = "true",
        joined: LiteralString = "",
        dead_letter: LiteralString | None = None,
        failing_since: bool = False,
    ) -> None:
        self._make = make
        self.select_claimed: LiteralString = f"""
            SELECT claimed.{key}::text AS claimed_key, claimed.attempts AS claimed_attempt,
                   claimed.next_attempt_at AS claimed_until, claimed.traceparent AS claimed_traceparent, {columns}
              FROM claimed {joined}
        """  # noqa: S608 - put together from constants
        # MATERIALIZED: a subquery may be run once per row of the table, and find others each time, since those that
        # were found before are changed by then; so more than the limit would be claimed.
        self._claim: LiteralString = f"""
            WITH due AS MATERIALIZED (
                SELECT {key} FROM {table}
                 WHERE {pending} AND next_attempt_at <= now() AND {ready}
                 ORDER BY next_attempt_at LIMIT %(limit)s
                   FOR UPDATE OF {table} SKIP LOCKED
            ),
            claimed AS (
                UPDATE {table} SET attempts = attempts + 1, next_attempt_at = now() + %(lease)s
                 WHERE {key} IN (SELECT {key} FROM due)
                RETURNING *
            )
            {self.select_claimed}
        """  # noqa: S608 - put together from constants
        self.still_claimed: LiteralString = (
            f"{key} = %(claimed_key)s AND {pending} AND next_attempt_at = %(claimed_until)s"
        )
        note_since: LiteralString = (
            ", failing_since = CASE WHEN %(error)s::text IS NULL THEN NULL ELSE coalesce(failing_since, now()) END"
            if failing_since
            else ""
        )
        self._reschedule: LiteralString = f"""
            UPDATE {table}
               SET next_attempt_at = now() + %(delay)s, last_error = %(error)s{note_since},
                   attempts = CASE WHEN %(error)s::text IS NULL THEN 0 ELSE attempts END
             WHERE {self.still_claimed}
        """  # noqa: S608 - put together from constants
        self._dead_letter: LiteralString | None = None
        if dead_letter is not None:
            self._dead_letter = f"""
                UPDATE {table} SET {dead_letter}, last_error = %(error)s WHERE {self.still_claimed}
            """  # noqa: S608 - put together from constants
        self._backlog: LiteralString = f"""
            SELECT count(*) AS waiting, count(last_error) AS failing,
                   coalesce(extract(epoch FROM greatest(now() - min(next_attempt_at), '0')), 0)::float8 AS late_seconds
              FROM (SELECT last_error, next_attempt_at FROM {table}
                     WHERE {pending} ORDER BY next_attempt_at LIMIT %(most)s) AS open
        """  # noqa: S608 - put together from constants
        self._release: LiteralString = f"""
            UPDATE {table} SET next_attempt_at = now(), attempts = attempts - 1 WHERE {self.still_claimed}
        """  # noqa: S608 - put together from constants

    async def claim(self, connection: Connection, *, limit: int, lease: timedelta) -> Sequence[Claimed[Item]]:
        """Claim what has been due longest, at most `limit` rows."""
        return await connection.fetch_all(self._to_claimed, self._claim, limit=limit, lease=lease)

    async def store(self, connection: Connection, statement: LiteralString, **parameters: object) -> Stored[Item]:
        """Store new rows by a statement that ends with `select_claimed`: those with an attempt are claimed with that.

        To claim a row, it is stored with ``attempts`` 1 and with the end of its lease in ``next_attempt_at``.
        """
        rows = await connection.fetch_all(self._to_claimed, statement, **parameters)
        claimed = [row for row in rows if row.attempt]
        return Stored(claimed=claimed, left_due=len(rows) - len(claimed))

    async def reschedule(
        self, connection: Connection, claimed: Claimed[Item], *, delay: timedelta, error: str | None
    ) -> bool:
        """Let it be due again after `delay`, because of an error or, without one, because it is not done yet.

        Returns:
            False, and nothing is changed, when it is done, or the claim was lost.
        """
        return await self._change(connection, self._reschedule, claimed, delay=delay, error=error)

    async def dead_letter(self, connection: Connection, claimed: Claimed[Item], *, error: str) -> bool:
        """End what can never be processed.

        Returns:
            False, and nothing is changed, when it is done, the claim was lost, or there is no such end.
        """
        return self._dead_letter is not None and await self._change(connection, self._dead_letter, claimed, error=error)

    async def release(self, connection: Connection, claimed: Claimed[Item]) -> None:
        """End the claim, as if there had been none."""
        await self._change(connection, self._release, claimed)

    async def find_backlog(self, connection: Connection, *, most: int) -> DueBacklog:
        """What is still to be processed, counted up to `most` rows."""
        return await connection.fetch_one(DueBacklog, self._backlog, most=most) or _NOTHING

    async def _change(
        self, connection: Connection, statement: LiteralString, claimed: Claimed[Item], **parameters: object
    ) -> bool:
        return await connection.execute(statement, **claimed.parameters, **parameters) == 1

    def _to_claimed(
        self,
        *,
        claimed_key: str,
        claimed_attempt: int,
        claimed_until: datetime,
        claimed_traceparent: str | None,
        **columns: object,
    ) -> Claimed[Item]:
        return Claimed(
            key=claimed_key,
            item=self._make(**columns),
            attempt=claimed_attempt,
            lease_ends_at=claimed_until,
            traceparent=claimed_traceparent,
        )
