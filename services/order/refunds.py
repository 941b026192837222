"""SQL of what an order is told of its refunds. Every method runs on the caller's connection, as one statement."""

from __future__ import annotations

from typing import Final

from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from services.order.model import KnownRefund, OrderState, RefundNews
from services.order.repository import ORDERS_CHANNEL

# The order is locked before its refund, by whoever writes either: of two that come at once, the later one finds
# another `seq` or another version than it has read, and changes nothing. A refund's amount never changes.
_KEEP: Final = """
    locked AS (
        SELECT id FROM orders
         WHERE id = %(order_id)s AND status = %(found_status)s AND seq = %(found_seq)s
           FOR NO KEY UPDATE
    ),
    kept AS (
        INSERT INTO order_refunds (refund_id, order_id, amount, succeeded, version)
        SELECT %(refund_id)s, id, %(amount)s, %(succeeded)s, %(version)s FROM locked
        ON CONFLICT (refund_id) DO UPDATE SET succeeded = excluded.succeeded, version = excluded.version
         WHERE order_refunds.version = %(known_version)s
        RETURNING order_id
    )
"""
_KEEP_ALONE: Final = f"WITH {_KEEP} SELECT FROM kept"
_KEEP_AND_MOVE: Final = with_events(f"""
    {_KEEP},
    changed AS (
        UPDATE orders
           SET status = %(status)s, reason = NULL, refunded = %(refunded)s, seq = %(seq)s, updated_at = %(at)s
          FROM kept
         WHERE orders.id = kept.order_id
        RETURNING orders.id
    ),
    transition AS (
        INSERT INTO order_transitions (order_id, seq, from_status, to_status, cause_id, at)
        SELECT id, %(seq)s, %(found_status)s, %(status)s, %(cause_id)s, %(at)s FROM changed
        RETURNING pg_notify('{ORDERS_CHANNEL}', order_id::text)
    )
""")  # noqa: S608 - put together from constants


class RefundRepository:
    """What orders were told of refunds, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, refund_id: str) -> KnownRefund | None:
        """What its order was last told of a refund; None when that is nothing."""
        return await self._connection.fetch_one(
            KnownRefund,
            "SELECT order_id, amount, succeeded, version FROM order_refunds WHERE refund_id = %(refund_id)s",
            refund_id=refund_id,
        )

    async def keep(self, news: RefundNews, *, found: OrderState, known: KnownRefund | None) -> bool:
        """Keep news that move nothing.

        Returns:
            False, and nothing is changed, when order or refund are no longer as they were found.
        """
        kept = await self._connection.execute(_KEEP_ALONE, **_guard(news, found, known))
        return kept == 1

    async def keep_and_move(
        self, news: RefundNews, *, found: OrderState, known: KnownRefund | None, moved: OrderState, event: Event
    ) -> bool:
        """Keep news, move the order by them, with its transition and event, and wake who waits for it.

        Returns:
            False, and nothing is changed, when order or refund are no longer as they were found.
        """
        changed = await self._connection.execute(
            _KEEP_AND_MOVE,
            **_guard(news, found, known),
            status=moved.status,
            refunded=moved.refunded,
            seq=moved.seq,
            at=moved.updated_at,
            cause_id=news.cause_id,
            events=encode_events([event]),
        )
        return changed == 1


def _guard(news: RefundNews, found: OrderState, known: KnownRefund | None) -> dict[str, object]:
    return {
        "order_id": news.order_id,
        "refund_id": news.refund_id,
        "amount": news.amount,
        "succeeded": news.succeeded,
        "version": news.version,
        "found_status": found.status,
        "found_seq": found.seq,
        "known_version": None if known is None else known.version,
    }
