"""All SQL of orders. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, LiteralString

from psycopg.errors import UniqueViolation

from runtime.database import Connection, encode_rows
from runtime.due_work import DueTable
from runtime.idempotency import CLAIM_KEY
from runtime.outbox import Event, encode_events, with_events
from runtime.rows import columns, json_object, parameters
from services.order.customer_limits import Holdings
from services.order.lists import OrderFilter, select_last_looked_through, select_page
from services.order.model import Acceptance, AcceptedOrder, History, Line, NewOrder, Order, OrderState, OrderSummary
from services.order.tables import (
    AdjustmentColumns,
    ItemColumns,
    OrderColumns,
    RequestColumns,
    TransitionColumns,
    VersionColumns,
)

ORDERS_CHANNEL: Final = "orders"
"""NOTIFY channel: the payload is the id of an order that moved."""


def _adjustments_of(order: LiteralString) -> LiteralString:
    """The adjustments of an order, from the row of that name."""
    return f"""
        (SELECT coalesce(json_agg({json_object(AdjustmentColumns)} ORDER BY position), '[]')
           FROM order_adjustments WHERE order_id = {order}.id) AS adjustments
    """  # noqa: S608 - put together from constants


_ACCEPT: Final = with_events(f"""
    changed AS ({CLAIM_KEY}),
    received AS (
        INSERT INTO orders ({columns(RequestColumns)}, id, number, status, refunded, shipping_address, shop_metadata,
                            seq, created_at, updated_at, attempts, next_attempt_at, traceparent)
        SELECT {parameters(RequestColumns)}, subject_id, %(number)s, 'RECEIVED', 0, %(shipping_address)s::jsonb,
               %(shop_metadata)s::jsonb, 1, %(at)s, %(at)s, 0, now() + %(start_after)s, %(traceparent)s::text
          FROM changed
    ),
    item AS (
        INSERT INTO order_items (order_id, product_id, quantity, position)
        SELECT subject_id, product_id, quantity, position
          FROM changed, json_to_recordset(%(lines)s::json) AS line (product_id uuid, quantity int, position int)
    ),
    adjustment AS (
        INSERT INTO order_adjustments (order_id, {columns(AdjustmentColumns)}, position)
        SELECT subject_id, {columns(AdjustmentColumns)}, position
          FROM changed, json_to_recordset(%(adjustments)s::json) AS line
               (type text, name text, amount bigint, position int)
    ),
    guest AS (
        INSERT INTO guests (order_id, email, name, attempts, next_attempt_at, traceparent)
        SELECT subject_id, %(guest_email)s::text, %(guest_name)s::text, 0, now() + %(look_after)s,
               %(traceparent)s::text
          FROM changed WHERE %(guest_email)s::text IS NOT NULL
    ),
    transition AS (
        INSERT INTO order_transitions (order_id, seq, to_status, cause_id, at)
        SELECT subject_id, 1, 'RECEIVED', %(cause_id)s, %(at)s FROM changed
    )
""")  # noqa: S608 - put together from constants
_ITEMS: Final[LiteralString] = f"""
    (SELECT json_agg({json_object(ItemColumns)} ORDER BY position, product_id)
       FROM order_items WHERE order_id = orders.id) AS items
"""  # noqa: S608 - put together from constants
_IS_GUEST: Final[LiteralString] = """
    EXISTS (SELECT FROM guests WHERE order_id = orders.id AND adopted_at IS NULL) AS is_guest
"""
_READ: Final = f"""
    SELECT {columns(OrderColumns)}, shipping_address, shop_metadata, {_ITEMS}, {_adjustments_of("orders")}, {_IS_GUEST},
           (SELECT email FROM guests WHERE order_id = orders.id) AS guest_email,
           (SELECT json_agg({json_object(TransitionColumns)} ORDER BY seq)
              FROM order_transitions WHERE order_id = orders.id) AS transitions
      FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants
_HISTORY: Final = f"""
    SELECT id, user_id, status,
           (SELECT coalesce(json_agg({json_object(TransitionColumns)} ORDER BY seq), '[]')
              FROM order_transitions WHERE order_id = orders.id AND seq > %(after)s) AS transitions
      FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants
_MOVED: Final = """
    SELECT orders.id, orders.seq
      FROM json_to_recordset(%(known)s::json) AS known (order_id uuid, seq int)
      JOIN orders ON orders.id = known.order_id
     WHERE orders.seq > known.seq
"""
_STATE: Final = f"""
    SELECT {columns(OrderColumns)}, {columns(VersionColumns)}, {_ITEMS}, {_adjustments_of("orders")}, {_IS_GUEST}
      FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants
_MOVE: Final = with_events(f"""
    changed AS (
        UPDATE orders
           SET status = %(status)s, reason = %(reason)s, total = %(total)s, payment_id = %(payment_id)s,
               payment_deadline = %(payment_deadline)s, seq = %(seq)s, updated_at = %(at)s, moved_at = now()
         WHERE id = %(order_id)s AND status = %(from_status)s AND seq = %(seq)s - 1
        RETURNING id
    ),
    priced AS (
        UPDATE order_items SET unit_price = line.unit_price, name = line.name
          FROM changed, json_to_recordset(%(priced)s::json) AS line (product_id uuid, unit_price bigint, name text)
         WHERE order_items.order_id = changed.id AND order_items.product_id = line.product_id
    ),
    transition AS (
        INSERT INTO order_transitions (order_id, seq, from_status, to_status, reason, cause_id, at)
        SELECT id, %(seq)s, %(from_status)s, %(status)s, %(reason)s, %(cause_id)s, %(at)s FROM changed
        RETURNING pg_notify('{ORDERS_CHANNEL}', order_id::text)
    )
""")  # noqa: S608 - put together from constants


def _request_of(order: LiteralString) -> LiteralString:
    """What an order was asked for, from the row of that name."""
    return f"""
        {order}.id, {order}.created_at, {columns(RequestColumns, of=order)},
        (SELECT json_agg(json_build_object('product_id', product_id, 'quantity', quantity) ORDER BY position)
           FROM order_items WHERE order_id = {order}.id) AS lines,
        {_adjustments_of(order)}
    """  # noqa: S608 - put together from constants


_ACCEPTED: Final = f"SELECT {_request_of('orders')} FROM orders WHERE id = %(order_id)s"  # noqa: S608 - put together from constants

# By the index (status, id), backwards: a thousand rows at most, whatever the table holds.
_LINE: Final = """
    SELECT count(*) AS received,
           count(*) FILTER (WHERE created_at > %(new_from)s) AS new,
           coalesce(extract(epoch FROM %(at)s - percentile_disc(0.5) WITHIN GROUP (ORDER BY created_at)), 0)::float8
               AS waited,
           (SELECT count(*) FROM orders WHERE id > %(since)s) AS came
      FROM (SELECT created_at FROM orders WHERE status = 'RECEIVED' ORDER BY id DESC LIMIT %(most)s) AS line
"""

GUEST_HOLDINGS: Final = """
    SELECT count(*) AS orders, coalesce(sum(units), 0)::bigint AS units
      FROM guests JOIN orders ON orders.id = guests.order_id
           CROSS JOIN LATERAL (SELECT sum(quantity) AS units FROM order_items WHERE order_id = orders.id) AS held
     WHERE lower(guests.email) = lower(%(email)s) AND orders.status IN ('RECEIVED', 'PENDING')
"""
HOLDINGS: Final = """
    SELECT count(*) AS orders, coalesce(sum(units), 0)::bigint AS units
      FROM orders CROSS JOIN LATERAL (
           SELECT sum(quantity) AS units FROM order_items WHERE order_id = orders.id) AS held
     WHERE user_id = %(user_id)s AND status IN ('RECEIVED', 'PENDING')
"""

UNSTARTED: Final = DueTable(
    table="orders",
    key="id",
    pending="orders.status = 'RECEIVED' AND orders.saga_seen_at IS NULL",
    columns=_request_of("claimed"),
    make=AcceptedOrder,
)
"""Orders that are not known to have a workflow."""


@dataclass(frozen=True, slots=True)
class _Position:
    id: str
    seq: int


class NumberTaken(Exception):
    """Another order has the number that was drawn."""


class OrderRepository:
    """Orders with all that belongs to them, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def accept(self, new: NewOrder, acceptance: Acceptance, *, event: Event) -> bool:
        """Store a new order, RECEIVED, with its key, lines, first transition and event, unless the key is claimed.

        Waits for a concurrent duplicate that is just claiming it.

        Raises:
            NumberTaken: another order has the number; nothing is stored.
        """
        try:
            accepted = await self._connection.execute(
                _ACCEPT,
                **acceptance.request.claim(acceptance.order_id),
                **new.model_dump(include=set(RequestColumns.model_fields)),
                guest_email=None if new.guest is None else new.guest.email,
                guest_name=None if new.guest is None else new.guest.name,
                look_after=acceptance.start_after,
                number=acceptance.number,
                shipping_address=new.shipping_address.model_dump_json(),
                shop_metadata=json.dumps(new.shop_metadata),
                lines=encode_rows(
                    {"product_id": line.product_id, "quantity": line.quantity, "position": position}
                    for position, line in enumerate(new.lines)
                ),
                adjustments=encode_rows(
                    {**asdict(adjustment), "position": position} for position, adjustment in enumerate(new.adjustments)
                ),
                cause_id=acceptance.cause_id,
                at=acceptance.at,
                start_after=acceptance.start_after,
                events=encode_events([event]),
            )
        except UniqueViolation as violation:
            if violation.diag.constraint_name == "uq_orders_number":
                raise NumberTaken from None
            raise
        return accepted == 1

    async def lock_customer(self, new: NewOrder) -> None:
        """Let no other order of this customer, or of this guest's address, come in until the transaction ends."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('customer:' || %(placed_by)s, 0))", placed_by=new.placed_by
        )

    async def read_holdings(self, new: NewOrder) -> Holdings:
        """What the unpaid orders of this customer, or of this guest's address, come to."""
        if new.guest is None:
            held = await self._connection.fetch_one(Holdings, HOLDINGS, user_id=new.user_id)
        else:
            held = await self._connection.fetch_one(Holdings, GUEST_HOLDINGS, email=new.guest.email)
        return held or Holdings(orders=0, units=0)

    async def read_line(self, *, at: datetime, new_from: datetime, since: str | None, most: int) -> Line:
        """The orders that are RECEIVED at this moment, the last `most` of them.

        Args:
            at: this moment.
            new_from: those that came later are new.
            since: orders with greater ids have come since; None where nobody wants to know.
            most: how many are looked at.
        """
        line = await self._connection.fetch_one(Line, _LINE, at=at, new_from=new_from, since=since, most=most)
        return line or Line(received=0, new=0, waited=0, came=0)

    async def find_id(self, number: str) -> str | None:
        """The id of the order that has this number."""
        order_id: str | None = await self._connection.fetch_value(
            "SELECT id FROM orders WHERE number = %(number)s", number=number
        )
        return order_id

    async def get(self, order_id: str) -> Order | None:
        """One order with its items and transitions: one statement, so all of one moment."""
        return await self._connection.fetch_one(Order, _READ, order_id=order_id)

    async def find_summaries(self, wanted: OrderFilter, *, limit: int) -> list[OrderSummary]:
        """At most `limit` orders, the newest first."""
        statement, parameters = select_page(wanted, limit=limit)
        return await self._connection.fetch_all(OrderSummary, statement, **parameters)

    async def find_last_looked_through(self, wanted: OrderFilter) -> str | None:
        """Behind which order a list goes on whose page is not full; None where that page was the last one."""
        looking = select_last_looked_through(wanted)
        if looking is None:
            return None
        statement, parameters = looking
        order_id: str | None = await self._connection.fetch_value(statement, **parameters)
        return order_id

    async def get_history(self, order_id: str, *, after: int) -> History | None:
        """An order's transitions behind number `after`: one statement, so all of one moment."""
        return await self._connection.fetch_one(History, _HISTORY, order_id=order_id, after=after)

    async def find_moved(self, known: Mapping[str, int]) -> dict[str, int]:
        """The orders whose last transition has a higher number than is known, each with that number."""
        rows = encode_rows({"order_id": order_id, "seq": seq} for order_id, seq in known.items())
        moved = await self._connection.fetch_all(_Position, _MOVED, known=rows)
        return {position.id: position.seq for position in moved}

    async def find_state(self, order_id: str) -> OrderState | None:
        """Where the order stands, with what a mark answers and its event carries."""
        return await self._connection.fetch_one(OrderState, _STATE, order_id=order_id)

    async def has_transition(self, order_id: str, *, cause_id: str) -> bool:
        """Whether a step has moved the order before."""
        found = await self._connection.fetch_value(
            "SELECT seq FROM order_transitions WHERE order_id = %(order_id)s AND cause_id = %(cause_id)s",
            order_id=order_id,
            cause_id=cause_id,
        )
        return found is not None

    async def move(self, *, origin: OrderState, moved: OrderState, cause_id: str, event: Event) -> bool:
        """Move the order from where it was found, with its transition and event, and wake whoever waits for it.

        Returns:
            False, and nothing is changed, when the order has moved since `origin` was read.
        """
        priced = [item.model_dump(exclude={"quantity"}) for item in moved.items]
        changed = await self._connection.execute(
            _MOVE,
            order_id=moved.id,
            from_status=origin.status,
            status=moved.status,
            reason=moved.reason,
            total=moved.total,
            payment_id=moved.payment_id,
            payment_deadline=moved.payment_deadline,
            seq=moved.seq,
            at=moved.updated_at,
            cause_id=cause_id,
            priced=encode_rows(priced if moved.items != origin.items else ()),
            events=encode_events([event]),
        )
        return changed == 1

    async def find_accepted(self, order_id: str) -> AcceptedOrder | None:
        """The order as its customer asked for it."""
        return await self._connection.fetch_one(AcceptedOrder, _ACCEPTED, order_id=order_id)

    async def set_saga_seen(self, order_id: str) -> None:
        """Note that the order has its workflow, so that nobody starts it again."""
        await self._connection.execute(
            "UPDATE orders SET saga_seen_at = now() WHERE id = %(order_id)s", order_id=order_id
        )
