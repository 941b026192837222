"""All SQL of orders. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from domain.orders import OrderLine, OrderStatus
from runtime.database import Connection, encode_rows
from runtime.outbox import Event, encode_events, with_events
from services.order.model import (
    Acceptance,
    Address,
    NewOrder,
    Order,
    OrderFilter,
    OrderItem,
    OrderState,
    OrderSummary,
    Transition,
)

ORDERS_CHANNEL: Final = "orders"
"""NOTIFY channel: the payload is the id of an order that moved."""

_ACCEPT: Final = with_events("""
    changed AS (
        INSERT INTO idempotency_keys (user_id, route, key, request_hash, order_id, accepted_only, created_at)
        VALUES (%(user_id)s, %(route)s, %(key)s, %(request_hash)s, %(order_id)s, false, %(at)s)
        ON CONFLICT DO NOTHING
        RETURNING order_id
    ),
    received AS (
        INSERT INTO orders (id, user_id, status, currency, refunded, expected_total, payment_method,
                            payment_window_seconds, shipping_address, seq, created_at, updated_at)
        SELECT order_id, %(user_id)s, 'RECEIVED', %(currency)s, 0, %(expected_total)s, %(payment_method)s,
               %(payment_window_seconds)s, %(shipping_address)s::jsonb, 1, %(at)s, %(at)s
          FROM changed
    ),
    item AS (
        INSERT INTO order_items (order_id, product_id, quantity)
        SELECT order_id, product_id, quantity
          FROM changed, json_to_recordset(%(lines)s::json) AS line (product_id uuid, quantity int)
    ),
    transition AS (
        INSERT INTO order_transitions (order_id, seq, to_status, cause_id, at)
        SELECT order_id, 1, 'RECEIVED', %(cause_id)s, %(at)s FROM changed
    )
""")
_ITEMS: Final = """
    (SELECT json_agg(json_build_object('product_id', product_id, 'quantity', quantity, 'unit_price', unit_price)
                     ORDER BY product_id)
       FROM order_items WHERE order_id = orders.id) AS items
"""
_READ: Final = f"""
    SELECT id, user_id, status, reason, currency, total, refunded, shipping_address, payment_id, payment_deadline,
           created_at, {_ITEMS},
           (SELECT json_agg(json_build_object('seq', seq, 'from_status', from_status, 'to_status', to_status,
                                              'reason', reason, 'at', at) ORDER BY seq)
              FROM order_transitions WHERE order_id = orders.id) AS transitions
      FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants
_STATE: Final = f"""
    SELECT user_id, status, reason, currency, total, refunded, payment_id, payment_deadline, seq, updated_at, {_ITEMS}
      FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants
_MOVE: Final = with_events(f"""
    changed AS (
        UPDATE orders
           SET status = %(status)s, reason = %(reason)s, total = %(total)s, payment_id = %(payment_id)s,
               payment_deadline = %(payment_deadline)s, seq = %(seq)s, updated_at = %(at)s
         WHERE id = %(order_id)s AND status = %(from_status)s AND seq = %(seq)s - 1
        RETURNING id
    ),
    priced AS (
        UPDATE order_items SET unit_price = price.unit_price
          FROM changed, json_to_recordset(%(prices)s::json) AS price (product_id uuid, unit_price bigint)
         WHERE order_items.order_id = changed.id AND order_items.product_id = price.product_id
    ),
    transition AS (
        INSERT INTO order_transitions (order_id, seq, from_status, to_status, reason, cause_id, at)
        SELECT id, %(seq)s, %(from_status)s, %(status)s, %(reason)s, %(cause_id)s, %(at)s FROM changed
        RETURNING pg_notify('{ORDERS_CHANNEL}', order_id::text)
    )
""")  # noqa: S608 - put together from constants
_SUMMARIES: Final = """
    SELECT id, user_id, status, reason, currency, total, refunded, created_at, payment_deadline, payment_id,
           (SELECT count(*) FROM order_items WHERE order_id = orders.id) AS line_count
      FROM orders
"""
_NEW_ORDER: Final = f"""
    SELECT id AS order_id, user_id, currency, shipping_address, payment_method, expected_total,
           payment_window_seconds, {_ITEMS}
      FROM orders
"""  # noqa: S608 - put together from constants
_UNSTARTED: Final = f"""
    {_NEW_ORDER}
     WHERE status = 'RECEIVED' AND saga_seen_at IS NULL AND created_at < now() - %(older_than)s
     ORDER BY created_at
     LIMIT %(limit)s
"""


class OrderRepository:
    """Orders with all that belongs to them, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def accept(self, new: NewOrder, acceptance: Acceptance, *, request_hash: str, event: Event) -> bool:
        """Write a new order, RECEIVED, with its key, lines, first transition and event, unless the key is taken.

        Waits for a twin that is just taking it.
        """
        accepted = await self._connection.execute(
            _ACCEPT,
            order_id=acceptance.order_id,
            user_id=new.user_id,
            route=acceptance.route,
            key=acceptance.key,
            request_hash=request_hash,
            cause_id=acceptance.cause_id,
            at=acceptance.at,
            currency=new.currency,
            expected_total=new.expected_total,
            payment_method=new.payment_method,
            payment_window_seconds=new.payment_window_seconds,
            shipping_address=msgspec.json.encode(asdict(new.shipping_address)).decode(),
            lines=encode_rows({"product_id": line.product_id, "quantity": line.quantity} for line in new.lines),
            events=encode_events([event]),
        )
        return accepted == 1

    async def get(self, order_id: str) -> Order | None:
        """One order with its items and transitions: one statement, so all of one moment."""
        return await self._connection.fetch_one(_to_order, _READ, order_id=order_id)

    async def find_summaries(self, wanted: OrderFilter, *, limit: int) -> list[OrderSummary]:
        """At most `limit` orders, the newest first."""
        conditions = ["true"]
        if wanted.user_id is not None:
            conditions.append("user_id = %(user_id)s")
        if wanted.status is not None:
            conditions.append("status = %(status)s")
        if wanted.before is not None:
            conditions.append("id < %(before)s")
        return await self._connection.fetch_all(
            _to_summary,
            f"{_SUMMARIES} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s",
            user_id=wanted.user_id,
            status=wanted.status,
            before=wanted.before,
            limit=limit,
        )

    async def find_state(self, order_id: str) -> OrderState | None:
        """Where the order stands, with what a mark answers and its event tells."""
        return await self._connection.fetch_one(_to_state, _STATE, order_id=order_id)

    async def has_transition(self, order_id: str, *, cause_id: str) -> bool:
        """Whether a step has moved the order before."""
        found = await self._connection.fetch_value(
            "SELECT seq FROM order_transitions WHERE order_id = %(order_id)s AND cause_id = %(cause_id)s",
            order_id=order_id,
            cause_id=cause_id,
        )
        return found is not None

    async def move(self, order_id: str, *, origin: OrderState, moved: OrderState, cause_id: str, event: Event) -> bool:
        """Move the order from where it was found, with its transition and event, and wake who waits for it.

        Returns:
            False, and nothing is changed, when the order has moved since `origin` was read.
        """
        prices = [{"product_id": item.product_id, "unit_price": item.unit_price} for item in moved.items]
        changed = await self._connection.execute(
            _MOVE,
            order_id=order_id,
            from_status=origin.status,
            status=moved.status,
            reason=moved.reason,
            total=moved.total,
            payment_id=moved.payment_id,
            payment_deadline=moved.payment_deadline,
            seq=moved.seq,
            at=moved.updated_at,
            cause_id=cause_id,
            prices=encode_rows(prices if moved.items != origin.items else ()),
            events=encode_events([event]),
        )
        return changed == 1

    async def raise_attention(self, *, order_id: str, step: str, why: str) -> bool:
        """Keep that a step needs a person; the first time since it was last cleared stands. False without an order."""
        raised = await self._connection.execute(
            """
            WITH raised AS (
                INSERT INTO attention (order_id, step, why, since)
                SELECT id, %(step)s, %(why)s, now() FROM orders WHERE id = %(order_id)s
                ON CONFLICT (order_id, step) DO UPDATE
                   SET why = excluded.why, since = excluded.since, cleared_at = NULL
                 WHERE attention.cleared_at IS NOT NULL
            )
            SELECT FROM orders WHERE id = %(order_id)s
            """,
            order_id=order_id,
            step=step,
            why=why,
        )
        return raised == 1

    async def clear_attention(self, *, order_id: str, step: str) -> None:
        """Note that the step got through."""
        await self._connection.execute(
            """
            UPDATE attention SET cleared_at = now()
             WHERE order_id = %(order_id)s AND step = %(step)s AND cleared_at IS NULL
            """,
            order_id=order_id,
            step=step,
        )

    async def find_unstarted(self, *, older_than: timedelta, limit: int) -> list[tuple[str, NewOrder]]:
        """Orders that are RECEIVED for so long without a known workflow, the oldest first."""
        return await self._connection.fetch_all(_to_unstarted, _UNSTARTED, older_than=older_than, limit=limit)

    async def find_new_order(self, order_id: str) -> NewOrder | None:
        """What the order's customer asked for."""
        found = await self._connection.fetch_one(
            _to_unstarted, f"{_NEW_ORDER} WHERE id = %(order_id)s", order_id=order_id
        )
        return None if found is None else found[1]

    async def find_open(self, order_ids: Sequence[str]) -> list[str]:
        """Those of the orders that are open."""
        rows: list[dict[str, str]] = await self._connection.fetch_all(
            dict,
            """
            SELECT id FROM orders
             WHERE id = ANY(%(order_ids)s::uuid[]) AND status IN ('RECEIVED', 'PENDING')
            """,
            order_ids=list(order_ids),
        )
        return [row["id"] for row in rows]

    async def find_attention(self, *, step: str) -> list[str]:
        """The orders whose step needs a person, longest first."""
        rows: list[dict[str, str]] = await self._connection.fetch_all(
            dict,
            "SELECT order_id FROM attention WHERE step = %(step)s AND cleared_at IS NULL ORDER BY since",
            step=step,
        )
        return [row["order_id"] for row in rows]

    async def set_saga_seen(self, order_id: str) -> None:
        """Note that the order has its workflow, so that no sweep looks at it again."""
        await self._connection.execute(
            "UPDATE orders SET saga_seen_at = now() WHERE id = %(order_id)s", order_id=order_id
        )


def _to_order(
    *,
    status: str,
    shipping_address: Mapping[str, str],
    items: Sequence[Mapping[str, Any]],
    transitions: Sequence[Mapping[str, Any]],
    **others: Any,
) -> Order:
    return Order(
        status=OrderStatus(status),
        shipping_address=Address(**shipping_address),
        items=[OrderItem(**item) for item in items],
        transitions=[_to_transition(**transition) for transition in transitions],
        **others,
    )


def _to_summary(*, status: str, **others: Any) -> OrderSummary:
    return OrderSummary(status=OrderStatus(status), **others)


def _to_state(*, status: str, items: Sequence[Mapping[str, Any]], **others: Any) -> OrderState:
    return OrderState(status=OrderStatus(status), items=[OrderItem(**item) for item in items], **others)


def _to_transition(*, from_status: str | None, to_status: str, at: str, **others: Any) -> Transition:
    return Transition(
        from_status=None if from_status is None else OrderStatus(from_status),
        to_status=OrderStatus(to_status),
        at=datetime.fromisoformat(at),
        **others,
    )


def _to_unstarted(
    *, order_id: str, shipping_address: Mapping[str, str], items: Sequence[Mapping[str, Any]], **others: Any
) -> tuple[str, NewOrder]:
    lines = [OrderLine(product_id=item["product_id"], quantity=item["quantity"]) for item in items]
    return order_id, NewOrder(shipping_address=Address(**shipping_address), lines=lines, **others)
