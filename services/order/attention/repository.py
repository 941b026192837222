"""SQL of concerns and actions. Every method is one statement, on the caller's connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any, Final

from domain.concerns import ConcernKind
from runtime.database import Connection, encode_rows
from runtime.on_call import Concern
from runtime.rows import columns, parameters, recordset
from services.order.attention.model import Action, OpenConcern, OpenOrder, PastConcern, Wanted
from services.order.tables import ConcernColumns

_COLUMNS: Final = columns(ConcernColumns)
_OPEN: Final = "(kind, subject_id, step) WHERE cleared_at IS NULL"
_NEWER: Final = """
    DO UPDATE SET cause = excluded.cause, attempts = excluded.attempts, last_error = excluded.last_error,
                  updated_at = now()
     WHERE (concerns.cause, concerns.attempts, concerns.last_error)
           IS DISTINCT FROM (excluded.cause, excluded.attempts, excluded.last_error)
    RETURNING kind, step, xmax = 0 AS is_new
"""
_RAISE_FOR_ORDER: Final = f"""
    WITH raised AS (
        INSERT INTO concerns ({_COLUMNS}, raised_by, raised_at, updated_at)
        SELECT {parameters(ConcernColumns)}, %(raised_by)s, now(), now() FROM orders WHERE id = %(order_id)s
        ON CONFLICT {_OPEN} {_NEWER}
    )
    SELECT coalesce((SELECT is_new FROM raised), false) FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants
_RECONCILE: Final = f"""
    WITH found AS (
        SELECT {_COLUMNS} FROM json_to_recordset(%(found)s::json) AS {recordset(ConcernColumns, alias="concern")}
    ),
    cleared AS (
        UPDATE concerns SET cleared_at = now(), cleared_by = %(raised_by)s
         WHERE cleared_at IS NULL AND raised_by = %(raised_by)s AND kind = ANY(%(kinds)s)
           AND (%(subjects)s::text[] IS NULL OR subject_id = ANY(%(subjects)s))
           AND NOT EXISTS (SELECT FROM found
                            WHERE (found.kind, found.subject_id, found.step)
                                  = (concerns.kind, concerns.subject_id, concerns.step))
    )
    INSERT INTO concerns ({_COLUMNS}, raised_by, raised_at, updated_at)
    SELECT {_COLUMNS}, %(raised_by)s, now(), now() FROM found
    ON CONFLICT {_OPEN} {_NEWER}
"""  # noqa: S608 - put together from constants
OPEN_ORDERS: Final = """
    SELECT id, status, now() - moved_at AS stood,
           CASE status WHEN 'PENDING'
                THEN now() - moved_at - make_interval(secs => payment_window_seconds) END AS overdue,
           last_error AS start_error
      FROM orders
     WHERE status IN ('RECEIVED', 'PENDING') AND id > coalesce(%(after)s::uuid, '00000000-0000-0000-0000-000000000000')
     ORDER BY id LIMIT %(limit)s
"""


class AttentionRepository:
    """What needs a person, and what persons did, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def raise_for_order(self, concern: Concern, *, raised_by: str) -> bool | None:
        """Record what an order's saga says; one that is open already gets the cause.

        Returns:
            Whether it is new; None, and nothing is recorded, without such an order.
        """
        is_new: bool | None = await self._connection.fetch_value(
            _RAISE_FOR_ORDER, **asdict(concern), raised_by=raised_by
        )
        return is_new

    async def reconcile(
        self,
        found: Sequence[Concern],
        *,
        raised_by: str,
        kinds: Sequence[ConcernKind],
        subjects: Sequence[str] | None,
    ) -> list[tuple[ConcernKind, str]]:
        """Raise what was found, and clear what was not.

        Args:
            found: all there is, of these kinds and subjects.
            raised_by: whose look it was: what others raised is not cleared.
            kinds: at which it looked.
            subjects: at which it looked; None for all.

        Returns:
            Kind and step of what was not open before.
        """
        changed = await self._connection.fetch_all(
            _Changed,
            _RECONCILE,
            found=encode_rows(asdict(concern) for concern in found),
            raised_by=raised_by,
            kinds=list(kinds),
            subjects=None if subjects is None else list(subjects),
        )
        return [(each.kind, each.step) for each in changed if each.is_new]

    async def clear(self, *, kind: ConcernKind, subject_id: str, step: str | None, cleared_by: str) -> int:
        """Record that it is over, one step or all of them; how many were open."""
        return await self._connection.execute(
            """
            UPDATE concerns SET cleared_at = now(), cleared_by = %(cleared_by)s
             WHERE kind = %(kind)s AND subject_id = %(subject_id)s AND cleared_at IS NULL
               AND (%(step)s::text IS NULL OR step = %(step)s)
            """,
            kind=kind,
            subject_id=subject_id,
            step=step,
            cleared_by=cleared_by,
        )

    async def clear_closed_orders(self, *, cleared_by: str) -> None:
        """Record that the orders that have closed need nobody."""
        await self._connection.execute(
            """
            UPDATE concerns SET cleared_at = now(), cleared_by = %(cleared_by)s
             WHERE kind = 'ORDER' AND cleared_at IS NULL
               AND NOT EXISTS (SELECT FROM orders
                                WHERE id = concerns.order_id AND status IN ('RECEIVED', 'PENDING'))
            """,
            cleared_by=cleared_by,
        )

    async def find_open(self, wanted: Wanted, *, limit: int) -> list[OpenConcern]:
        """What needs a person, in the order in which it was raised."""
        return await self._connection.fetch_all(
            OpenConcern,
            f"""
            SELECT {_COLUMNS}, id, raised_by FROM concerns
             WHERE cleared_at IS NULL
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
               AND (%(step)s::text IS NULL OR step = %(step)s)
               AND (%(subject_id)s::text IS NULL OR subject_id = %(subject_id)s OR order_id::text = %(subject_id)s)
               AND id > %(after)s
             ORDER BY id LIMIT %(limit)s
            """,  # noqa: S608 - put together from constants
            kind=wanted.kind,
            step=wanted.step,
            subject_id=wanted.subject_id,
            after=wanted.after,
            limit=limit,
        )

    async def find_of_subjects(self, kind: ConcernKind, subjects: Collection[str]) -> list[OpenConcern]:
        """What needs a person of these."""
        return await self._connection.fetch_all(
            OpenConcern,
            f"""
            SELECT {_COLUMNS}, id, raised_by FROM concerns
             WHERE cleared_at IS NULL AND kind = %(kind)s AND subject_id = ANY(%(subjects)s)
            """,  # noqa: S608 - put together from constants
            kind=kind,
            subjects=list(subjects),
        )

    async def find_of_order(self, order_id: str) -> list[PastConcern]:
        """What of an order needs a person, or did, the first one first."""
        return await self._connection.fetch_all(
            PastConcern,
            f"""
            SELECT {_COLUMNS}, raised_by, raised_at, cleared_at, cleared_by FROM concerns
             WHERE order_id = %(order_id)s ORDER BY id
            """,  # noqa: S608 - put together from constants
            order_id=order_id,
        )

    async def count_open(self) -> dict[ConcernKind, int]:
        """How much needs a person, by kind."""
        counted: list[dict[str, Any]] = await self._connection.fetch_all(
            dict, "SELECT kind, count(*) AS open FROM concerns WHERE cleared_at IS NULL GROUP BY kind"
        )
        return {ConcernKind(row["kind"]): row["open"] for row in counted}

    async def find_open_orders(self, *, after: str | None, limit: int) -> list[OpenOrder]:
        """Orders that are open, a batch at a time, by their ids."""
        return await self._connection.fetch_all(OpenOrder, OPEN_ORDERS, after=after, limit=limit)

    async def add_action(self, action: Action) -> None:
        """Keep what an operator did."""
        await self._connection.execute(
            f"INSERT INTO actions ({columns(Action)}) VALUES ({parameters(Action)})",  # noqa: S608 - from constants
            **action.model_dump(),
        )

    async def find_actions(self, order_id: str) -> list[Action]:
        """What operators did about an order, the first one first."""
        return await self._connection.fetch_all(
            Action,
            f"SELECT {columns(Action)} FROM actions WHERE order_id = %(order_id)s ORDER BY id",  # noqa: S608 - as above
            order_id=order_id,
        )


class _Changed:
    """A row that was raised or got newer words."""

    def __init__(self, *, kind: str, step: str, is_new: bool) -> None:
        self.kind, self.step, self.is_new = ConcernKind(kind), step, is_new
