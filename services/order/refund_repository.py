"""SQL of the refunds of orders. Every method runs on the caller's connection, as one statement."""

from __future__ import annotations

from typing import Final

from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from runtime.rows import columns
from services.order.model import OrderState, RefundUpdate
from services.order.repository import ORDERS_CHANNEL
from services.order.tables import OrderRefundColumns

# The order is locked before its refund, by whoever writes either: of two that come at once, the later one finds
# another `seq` or another version than it has read, and changes nothing. A refund's amount never changes.
_RECORD: Final = """
    locked AS (
        SELECT id FROM orders
         WHERE id = %(order_id)s AND status = %(found_status)s AND seq = %(found_seq)s
           FOR NO KEY UPDATE
    ),
    recorded AS (
        INSERT INTO order_refunds (refund_id, order_id, amount, succeeded, version)
        SELECT %(refund_id)s, id, %(amount)s, %(succeeded)s, %(version)s FROM locked
        ON CONFLICT (refund_id) DO UPDATE SET succeeded = excluded.succeeded, version = excluded.version
         WHERE order_refunds.version = %(known_version)s
        RETURNING order_id
    )
"""
_RECORD_ALONE: Final = f"WITH {_RECORD} SELECT FROM recorded"
_RECORD_AND_MOVE: Final = with_events(f"""
    {_RECORD},
    changed AS (
        UPDATE orders
           SET status = %(status)s, reason = NULL, refunded = %(refunded)s, seq = %(seq)s, updated_at = %(at)s
          FROM recorded
         WHERE orders.id = recorded.order_id
        RETURNING orders.id
    ),
    transition AS (
        INSERT INTO order_transitions (order_id, seq, from_status, to_status, cause_id, at)
        SELECT id, %(seq)s, %(found_status)s, %(status)s, %(cause_id)s, %(at)s FROM changed
        RETURNING pg_notify('{ORDERS_CHANNEL}', order_id::text)
    )
""")  # noqa: S608 - put together from constants


class RefundRepository:
    """The last update of each refund that its order has, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, refund_id: str) -> RefundUpdate | None:
        """The last update that the refund's order has; None when that has none."""
        return await self._connection.fetch_one(
            RefundUpdate,
            f"SELECT {columns(OrderRefundColumns)} FROM order_refunds WHERE refund_id = %(refund_id)s",  # noqa: S608 - put together from constants
            refund_id=refund_id,
        )

    async def record(self, update: RefundUpdate, *, found: OrderState, known: RefundUpdate | None) -> bool:
        """Record an update that does not move the order.

        Returns:
            False, and nothing is changed, when order or refund are no longer as they were found.
        """
        recorded = await self._connection.execute(_RECORD_ALONE, **_guard(update, found, known))
        return recorded == 1

    async def record_and_move(
        self, update: RefundUpdate, *, found: OrderState, known: RefundUpdate | None, moved: OrderState, event: Event
    ) -> bool:
        """Record an update and move the order by it, with its transition and event, and wake whoever waits for it.

        Returns:
            False, and nothing is changed, when order or refund are no longer as they were found.
        """
        changed = await self._connection.execute(
            _RECORD_AND_MOVE,
            **_guard(update, found, known),
            status=moved.status,
            refunded=moved.refunded,
            seq=moved.seq,
            at=moved.updated_at,
            cause_id=update.cause_id,
            events=encode_events([event]),
        )
        return changed == 1


def _guard(update: RefundUpdate, found: OrderState, known: RefundUpdate | None) -> dict[str, object]:
    return {
        **update.model_dump(),
        "found_status": found.status,
        "found_seq": found.seq,
        "known_version": None if known is None else known.version,
    }
