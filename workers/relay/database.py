"""The relay's statements in one service's database: holding the lease, reading and marking outbox rows.

All statements stand alone (autocommit), and all times are PostgreSQL's. Marking is under the lease, and with it the
reading that comes in the same statement; a reading alone asks for no lock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from psycopg.rows import class_row, kwargs_row, scalar_row

from runtime.connecting import with_keepalives
from runtime.database import encode_rows
from runtime.health import NotSetUp
from workers.relay.state import LEASE_SECONDS, Key


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


LEASE_NAME: Final = "outbox"

_ALLOWED: Final = """
    SELECT has_table_privilege('outbox', 'SELECT') AND has_column_privilege('outbox', 'published_at', 'UPDATE')
       AND has_table_privilege('relay_lease', 'SELECT') AND has_table_privilege('relay_lease', 'INSERT')
       AND has_table_privilege('relay_lease', 'UPDATE')
"""
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
_COLUMNS: Final = ", ".join(field.name for field in fields(OutboxRow))
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


async def find_problem(dsn: str) -> str | None:
    """Why a service's outbox cannot be relayed, in words: its database is away, or does not let the role do it."""
    try:
        async with await psycopg.AsyncConnection.connect(with_keepalives(dsn), autocommit=True) as connection:
            cursor = await connection.cursor(row_factory=scalar_row).execute(_ALLOWED)
            allowed = await cursor.fetchone()
    except psycopg.OperationalError as error:
        return f"it does not answer: {error}"
    except (UndefinedTable, InsufficientPrivilege):
        allowed = False
    if allowed:
        return None
    return NotSetUp("the relay's role may not read and mark its outbox; run `ordersaga setup databases`")


class OutboxDatabase:
    """One service's outbox and its lease. Every method raises `psycopg.Error` when the database is away."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]], *, holder: str) -> None:
        self._connection = connection
        self._holder = holder

    async def hold(self, *, epoch: int | None) -> int | None:
        """Renew the lease if it is ours under this epoch, else take it if it is free; its epoch if it is ours then.

        The same epoch comes back only if the lease was ours all the time.
        """
        if epoch is not None and await self._renew(epoch):
            return epoch
        return await self._acquire()

    async def release(self, *, epoch: int) -> None:
        """Let another relay go on at once."""
        await self._connection.execute(_RELEASE, self._lease(epoch))

    async def read(self, *, limit: int, without: Collection[Key]) -> Sequence[OutboxRow]:
        """The oldest unpublished rows, but for those of some keys.

        Never by ``id > last_seen``: transactions commit out of the order of their ids.
        """
        async with self._connection.cursor(row_factory=class_row(OutboxRow)) as cursor:
            await cursor.execute(_READ, {"without": _encode_keys(without), "limit": limit})
            return await cursor.fetchall()

    async def mark_published(self, ids: Sequence[int], *, epoch: int) -> bool:
        """Mark rows as published; false, and nothing marked, if the lease is not ours any more under this epoch."""
        cursor = await self._connection.execute(_MARK, {**self._lease(epoch), "ids": _encode_ids(ids)})
        return cursor.rowcount > 0

    async def mark_and_read(
        self, ids: Sequence[int], *, epoch: int, limit: int, without: Collection[Key]
    ) -> Sequence[OutboxRow] | None:
        """Do as `mark_published`, and as `read` thereafter; None, and nothing marked, if the lease is not ours."""
        parameters = {**self._lease(epoch), "ids": _encode_ids(ids), "without": _encode_keys(without), "limit": limit}
        async with self._connection.cursor(row_factory=kwargs_row(_to_row)) as cursor:
            await cursor.execute(_MARK_AND_READ, parameters)
            rows = await cursor.fetchall()
        return [row for row in rows if row is not None] if rows else None

    async def _acquire(self) -> int | None:
        cursor = await self._connection.execute(
            _ACQUIRE, {"name": LEASE_NAME, "holder": self._holder, "seconds": LEASE_SECONDS}
        )
        row = await cursor.fetchone()
        return None if row is None else int(str(row[0]))

    async def _renew(self, epoch: int) -> bool:
        cursor = await self._connection.execute(_RENEW, {**self._lease(epoch), "seconds": LEASE_SECONDS})
        return cursor.rowcount == 1

    def _lease(self, epoch: int) -> dict[str, object]:
        return {"name": LEASE_NAME, "holder": self._holder, "epoch": epoch}


def _to_row(*, id: int | None, **columns: Any) -> OutboxRow | None:  # noqa: A002 - the column's name
    return None if id is None else OutboxRow(id=id, **columns)


def _encode_ids(ids: Sequence[int]) -> str:
    return f"{{{','.join(map(str, ids))}}}"  # PostgreSQL's own notation: psycopg's takes five times as long


def _encode_keys(keys: Collection[Key]) -> str:
    return encode_rows({"topic": topic, "key": key} for topic, key in keys)
