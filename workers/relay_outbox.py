"""What the relay does in one service's database: the lease, and reading and marking outbox rows.

All statements stand alone (autocommit), and all times are PostgreSQL's. Marking is under the lease, and with it the
reading that comes in the same statement; a reading alone asks for no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row, kwargs_row

from runtime.database import encode_rows

LEASE_NAME: Final = "outbox"
LEASE_SECONDS: Final = 5.0
"""How long an outbox rests after its relay died."""

_ACQUIRE: Final = """
    INSERT INTO relay_lease (name, holder, epoch, expires_at)
    VALUES (%(name)s, %(holder)s, 1, now() + make_interval(secs => %(seconds)s))
    ON CONFLICT (name) DO UPDATE
       SET holder = excluded.holder, epoch = relay_lease.epoch + 1, expires_at = excluded.expires_at
     WHERE relay_lease.expires_at <= now() OR relay_lease.holder = excluded.holder
    RETURNING epoch
"""
_HELD: Final = "name = %(name)s AND holder = %(holder)s AND epoch = %(epoch)s AND expires_at > now()"
_RENEW: Final = f"""
    UPDATE relay_lease SET expires_at = now() + make_interval(secs => %(seconds)s) WHERE {_HELD}
"""  # noqa: S608 - put together from constants
_RELEASE: Final = f"UPDATE relay_lease SET expires_at = now() WHERE {_HELD}"  # noqa: S608 - from constants
_COLUMNS: Final = "id, topic, key, ce_id, ce_type, ce_seq, data, traceparent, at"
_UNPUBLISHED: Final = """
    published_at IS NULL
    AND (topic, key) NOT IN (
        SELECT topic, key FROM json_to_recordset(%(without)s::json) AS without (topic text, key text))
"""
_READ: Final = f"""
    SELECT {_COLUMNS} FROM outbox WHERE {_UNPUBLISHED} ORDER BY id LIMIT %(limit)s
"""  # noqa: S608 - put together from constants
# FOR SHARE: a takeover waits for the mark, so the mark happens wholly within the lease
_MARKING: Final = f"""
    WITH held AS (SELECT FROM relay_lease WHERE {_HELD} FOR SHARE),
    marked AS (
        UPDATE outbox SET published_at = now()
         WHERE id = ANY(%(ids)s::bigint[]) AND published_at IS NULL AND EXISTS (SELECT FROM held))
"""  # noqa: S608 - put together from constants
_MARK: Final = f"{_MARKING} SELECT FROM held"
# The reading does not see what the same statement marks, so it leaves these rows out by their ids. From the lease one
# row comes back at least, without an id if there is nothing to read.
_MARK_AND_READ: Final = f"""
    {_MARKING}
    SELECT {_COLUMNS}
      FROM held
      LEFT JOIN (
           SELECT {_COLUMNS} FROM outbox
            WHERE {_UNPUBLISHED} AND id <> ALL(%(ids)s::bigint[])
            ORDER BY id LIMIT %(limit)s) AS unpublished ON true
     ORDER BY id
"""  # noqa: S608 - put together from constants

Key = tuple[str, str]
"""Topic and record key: what order is kept for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One event to be published."""

    id: int
    topic: str
    key: str
    ce_id: str
    ce_type: str
    ce_seq: int
    data: str
    traceparent: str
    at: datetime


class RelayedDatabase:
    """One service's outbox as its relay sees it. Every method raises `psycopg.Error` when the database is away."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]], *, holder: str) -> None:
        self._connection = connection
        self._holder = holder
        self._valid_until = 0.0
        self.epoch: int | None = None
        """Number of the lease while it is ours."""

    @property
    def may_publish(self) -> bool:
        """Whether the lease is ours, counted by our own clock from before it was asked for."""
        return self.epoch is not None and asyncio.get_running_loop().time() < self._valid_until

    async def hold(self) -> bool:
        """Take the lease if it is free, or renew ours; whether it is ours then."""
        asked_at = asyncio.get_running_loop().time()
        held = await self._renew() if self.epoch is not None else False
        if not held:
            self.epoch = await self._acquire()
        if self.epoch is not None:
            self._valid_until = asked_at + LEASE_SECONDS
        return self.epoch is not None

    async def release(self) -> None:
        """Let another relay go on at once."""
        if self.epoch is not None:
            await self._connection.execute(_RELEASE, self._lease())
            self.epoch = None

    async def read(self, *, limit: int, without: Collection[Key]) -> Sequence[OutboxRow]:
        """The oldest unpublished rows, but for those of some keys.

        Never by ``id > last_seen``: transactions commit out of the order of their ids.
        """
        async with self._connection.cursor(row_factory=class_row(OutboxRow)) as cursor:
            await cursor.execute(_READ, {"without": _encode_keys(without), "limit": limit})
            return await cursor.fetchall()

    async def mark_published(self, ids: Sequence[int]) -> bool:
        """Mark rows as published; false, and nothing marked, if the lease is not ours any more."""
        cursor = await self._connection.execute(_MARK, {**self._lease(), "ids": _encode_ids(ids)})
        return self._note_lease(held=cursor.rowcount > 0)

    async def mark_and_read(
        self, ids: Sequence[int], *, limit: int, without: Collection[Key]
    ) -> Sequence[OutboxRow] | None:
        """Do as `mark_published`, and as `read` thereafter; None, and nothing marked, if the lease is not ours."""
        parameters = {**self._lease(), "ids": _encode_ids(ids), "without": _encode_keys(without), "limit": limit}
        async with self._connection.cursor(row_factory=kwargs_row(_to_row)) as cursor:
            await cursor.execute(_MARK_AND_READ, parameters)
            rows = await cursor.fetchall()
        return [row for row in rows if row is not None] if self._note_lease(held=bool(rows)) else None

    def _note_lease(self, *, held: bool) -> bool:
        if not held:
            self.epoch = None
        return held

    async def _acquire(self) -> int | None:
        cursor = await self._connection.execute(
            _ACQUIRE, {"name": LEASE_NAME, "holder": self._holder, "seconds": LEASE_SECONDS}
        )
        row = await cursor.fetchone()
        return None if row is None else int(str(row[0]))

    async def _renew(self) -> bool:
        cursor = await self._connection.execute(_RENEW, {**self._lease(), "seconds": LEASE_SECONDS})
        return cursor.rowcount == 1

    def _lease(self) -> dict[str, object]:
        return {"name": LEASE_NAME, "holder": self._holder, "epoch": self.epoch}


def _to_row(*, id: int | None, **columns: Any) -> OutboxRow | None:  # noqa: A002 - the column's name
    return None if id is None else OutboxRow(id=id, **columns)


def _encode_ids(ids: Sequence[int]) -> str:
    return f"{{{','.join(map(str, ids))}}}"  # PostgreSQL's own notation: psycopg's takes five times as long


def _encode_keys(keys: Collection[Key]) -> str:
    return encode_rows({"topic": topic, "key": key} for topic, key in keys)
