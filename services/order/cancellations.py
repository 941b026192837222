"""SQL of wishes to cancel an order: one per order, stored before its saga is told. On the caller's connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain.orders import CancelledBy
from runtime.database import Connection

_ADD: Final = """
    WITH claimed AS (
        INSERT INTO idempotency_keys (user_id, route, key, request_hash, order_id, accepted_only, created_at)
        VALUES (%(user_id)s, %(route)s, %(key)s, %(request_hash)s, %(order_id)s, false, now())
        ON CONFLICT DO NOTHING
        RETURNING order_id
    ),
    wish AS (
        INSERT INTO cancellations (order_id, cancelled_by, user_id, why, requested_at)
        SELECT orders.id, %(cancelled_by)s, %(user_id)s, %(why)s, now()
          FROM orders JOIN claimed ON claimed.order_id = orders.id
         WHERE orders.status IN ('RECEIVED', 'PENDING')
        ON CONFLICT DO NOTHING
    )
    SELECT FROM claimed
"""
_SETTLE: Final = """
    UPDATE cancellations SET settled_at = now()
      FROM orders
     WHERE orders.id = cancellations.order_id AND cancellations.settled_at IS NULL
       AND orders.status NOT IN ('RECEIVED', 'PENDING')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCancellation:
    """What somebody asks for, and under which idempotency key."""

    order_id: str
    user_id: str
    cancelled_by: CancelledBy
    why: str
    route: str
    key: str
    request_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A wish that its order has not answered yet."""

    order_id: str
    cancelled_by: CancelledBy


class CancellationRepository:
    """Cancellations, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, new: NewCancellation) -> bool:
        """Take the key, and store the wish if the order is open and nobody wished it before.

        Returns:
            False, and nothing is stored, when the key is taken; waits for a twin that is just taking it.
        """
        added = await self._connection.execute(
            _ADD,
            order_id=new.order_id,
            user_id=new.user_id,
            cancelled_by=new.cancelled_by,
            why=new.why,
            route=new.route,
            key=new.key,
            request_hash=new.request_hash,
        )
        return added == 1

    async def find(self, order_id: str) -> Cancellation | None:
        """The order's one wish."""
        return await self._connection.fetch_one(
            _to_cancellation,
            "SELECT order_id, cancelled_by FROM cancellations WHERE order_id = %(order_id)s",
            order_id=order_id,
        )

    async def settle(self) -> None:
        """Close the wishes whose orders have closed."""
        await self._connection.execute(_SETTLE)

    async def find_open(self, *, limit: int) -> list[Cancellation]:
        """Wishes that were not answered yet, the oldest first."""
        return await self._connection.fetch_all(
            _to_cancellation,
            """
            SELECT order_id, cancelled_by FROM cancellations
             WHERE settled_at IS NULL ORDER BY requested_at LIMIT %(limit)s
            """,
            limit=limit,
        )


def _to_cancellation(*, order_id: str, cancelled_by: str) -> Cancellation:
    return Cancellation(order_id=order_id, cancelled_by=CancelledBy(cancelled_by))
