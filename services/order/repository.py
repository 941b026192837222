"""All SQL of the order service. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, insert, inspect, update
from sqlalchemy import select as select_columns
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select

from domain.orders import ALLOWED_FROM, OrderLine, OrderStatus, PricedLine
from runtime.outbox import Event, add_events
from services.order.model import (
    Address,
    Mark,
    NewOrder,
    Order,
    OrderFilter,
    OrderItem,
    OrderState,
    OrderSummary,
    Pricing,
    Transition,
)
from services.order.tables import Attention, OrderTransition, Outbox
from services.order.tables import Order as OrderRow
from services.order.tables import OrderItem as OrderItemRow

ORDERS_CHANNEL: Final = "orders"
"""NOTIFY channel: the payload is the id of an order that moved."""

_STATE = (
    col(OrderRow.user_id),
    col(OrderRow.status),
    col(OrderRow.reason),
    col(OrderRow.currency),
    col(OrderRow.total),
    col(OrderRow.payment_deadline),
    col(OrderRow.seq),
    col(OrderRow.updated_at),
)

_SUMMARY = (
    col(OrderRow.id),
    col(OrderRow.user_id),
    col(OrderRow.status),
    col(OrderRow.reason),
    col(OrderRow.currency),
    col(OrderRow.total),
    col(OrderRow.created_at),
    col(OrderRow.payment_deadline),
    col(OrderRow.payment_id),
)


class OrderRepository:
    """Orders with all that belongs to them, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """The transaction's time."""
        return (await self._connection.execute(select(func.now()))).scalar_one()

    async def add(self, order_id: str, new: NewOrder, *, at: datetime) -> None:
        """Write a new order, RECEIVED, with its lines."""
        order = {
            "id": order_id,
            "user_id": new.user_id,
            "status": OrderStatus.RECEIVED.value,
            "currency": new.currency,
            "expected_total": new.expected_total,
            "payment_method": new.payment_method,
            "payment_window_seconds": new.payment_window_seconds,
            "shipping_address": asdict(new.shipping_address),
            "seq": 1,
            "created_at": at,
            "updated_at": at,
        }
        items = [{"order_id": order_id, "product_id": line.product_id, "quantity": line.quantity} for line in new.lines]
        await self._connection.execute(insert(OrderRow).values(order))
        await self._connection.execute(insert(OrderItemRow).values(items))

    async def get(self, order_id: str) -> Order | None:
        """One order with its items and transitions."""
        row = (await self._connection.execute(_orders().where(col(OrderRow.id) == order_id))).one_or_none()
        if row is None:
            return None
        return Order(
            id=row.id,
            user_id=row.user_id,
            status=OrderStatus(row.status),
            reason=row.reason,
            currency=row.currency,
            total=row.total,
            items=await self.get_items(order_id),
            shipping_address=Address(**row.shipping_address),
            payment_id=row.payment_id,
            payment_deadline=row.payment_deadline,
            created_at=row.created_at,
            # up to the row's own: others may have been added since it was read
            transitions=await self._get_transitions(order_id, until_seq=row.seq),
        )

    async def find_summaries(self, wanted: OrderFilter, *, limit: int) -> list[OrderSummary]:
        """At most `limit` orders, the newest first."""
        line_count = select(func.count()).where(col(OrderItemRow.order_id) == col(OrderRow.id))
        statement = (
            select_columns(*_SUMMARY, line_count.scalar_subquery().label("line_count"))
            .order_by(col(OrderRow.id).desc())
            .limit(limit)
        )
        if wanted.user_id is not None:
            statement = statement.where(col(OrderRow.user_id) == wanted.user_id)
        if wanted.status is not None:
            statement = statement.where(col(OrderRow.status) == wanted.status.value)
        if wanted.before is not None:
            statement = statement.where(col(OrderRow.id) < wanted.before)
        rows = (await self._connection.execute(statement)).mappings()
        return [OrderSummary(**{**row, "status": OrderStatus(row["status"])}) for row in rows]

    async def get_items(self, order_id: str) -> list[OrderItem]:
        """The order's items, sorted by product."""
        statement = (
            select(OrderItemRow.product_id, OrderItemRow.quantity, OrderItemRow.unit_price)
            .where(col(OrderItemRow.order_id) == order_id)
            .order_by(col(OrderItemRow.product_id))
        )
        rows = (await self._connection.execute(statement)).all()
        return [OrderItem(product_id=row.product_id, quantity=row.quantity, unit_price=row.unit_price) for row in rows]

    async def get_status(self, order_id: str) -> OrderStatus | None:
        """Where the order stands."""
        statement = select(OrderRow.status).where(col(OrderRow.id) == order_id)
        status = (await self._connection.execute(statement)).scalar_one_or_none()
        return None if status is None else OrderStatus(status)

    async def get_state(self, order_id: str) -> OrderState | None:
        """Where the order stands, with what a mark answers."""
        statement = select_columns(*_STATE).where(col(OrderRow.id) == order_id)
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _to_state(row)

    async def move(self, mark: Mark, pricing: Pricing | None) -> tuple[OrderStatus, OrderState] | None:
        """Move the order and say where it came from; None when it is where the mark may not start from."""
        before = (
            select(col(OrderRow.id), col(OrderRow.status).label("from_status"))
            .where(col(OrderRow.id) == mark.order_id)
            .with_for_update()
            .cte("before")
        )
        values: dict[str, Any] = {
            "status": mark.to_status.value,
            "reason": mark.reason,
            "seq": col(OrderRow.seq) + 1,
            "updated_at": func.now(),
        }
        if pricing is not None:
            values |= {
                "total": pricing.total,
                "payment_id": pricing.payment_id,
                "payment_deadline": pricing.payment_deadline,
            }
        statement = (
            update(OrderRow)
            .where(col(OrderRow.id) == before.c.id, before.c.from_status.in_(ALLOWED_FROM[mark.to_status]))
            .values(values)
            .returning(*_STATE, before.c.from_status)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else (OrderStatus(row.from_status), _to_state(row))

    async def set_prices(self, order_id: str, lines: Iterable[PricedLine]) -> None:
        """Write the price snapshot to the order's items."""
        statement = (
            update(OrderItemRow)
            .where(col(OrderItemRow.order_id) == order_id, col(OrderItemRow.product_id) == bindparam("product"))
            .values(unit_price=bindparam("price"))
        )
        prices = [{"product": line.product_id, "price": line.unit_price} for line in lines]
        await self._connection.execute(statement, prices)

    async def find_transition(self, order_id: str, cause_id: str) -> Transition | None:
        """The transition that a step made before."""
        statement = _transitions(order_id).where(col(OrderTransition.cause_id) == cause_id)
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _to_transition(row)

    async def add_transition(self, order_id: str, transition: Transition, *, cause_id: str, event: Event) -> None:
        """Write one arrow of the history with its event, and wake who waits for the order."""
        row = {
            "order_id": order_id,
            "seq": transition.seq,
            "from_status": transition.from_status,
            "to_status": transition.to_status.value,
            "reason": transition.reason,
            "cause_id": cause_id,
            "at": transition.at,
        }
        await self._connection.execute(
            insert(OrderTransition).values(row).returning(func.pg_notify(ORDERS_CHANNEL, order_id))
        )
        await add_events(self._connection, Outbox, [event])

    async def _get_transitions(self, order_id: str, *, until_seq: int) -> list[Transition]:
        statement = _transitions(order_id).where(col(OrderTransition.seq) <= until_seq)
        rows = await self._connection.execute(statement.order_by(col(OrderTransition.seq)))
        return [_to_transition(row) for row in rows]

    async def raise_attention(self, *, order_id: str, step: str, why: str) -> None:
        """Keep that a step needs a person; the first time since it was last cleared stands."""
        row = {"order_id": order_id, "step": step, "why": why, "since": func.now(), "cleared_at": None}
        statement = upsert(Attention).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=["order_id", "step"],
            set_={"why": statement.excluded.why, "since": statement.excluded.since, "cleared_at": None},
            where=col(Attention.cleared_at).is_not(None),
        )
        await self._connection.execute(statement)

    async def clear_attention(self, *, order_id: str, step: str) -> None:
        """Note that the step got through."""
        await self._connection.execute(
            update(Attention)
            .where(
                col(Attention.order_id) == order_id, col(Attention.step) == step, col(Attention.cleared_at).is_(None)
            )
            .values(cleared_at=func.now())
        )

    async def find_unstarted(self, *, older_than: timedelta, limit: int) -> list[tuple[str, NewOrder]]:
        """Orders that are RECEIVED for so long without a known workflow, the oldest first."""
        statement = (
            _orders()
            .where(
                col(OrderRow.status) == OrderStatus.RECEIVED.value,
                col(OrderRow.saga_seen_at).is_(None),
                col(OrderRow.created_at) < func.now() - older_than,
            )
            .order_by(col(OrderRow.created_at))
            .limit(limit)
        )
        rows = (await self._connection.execute(statement)).all()
        return [(row.id, _to_new_order(row, await self.get_items(row.id))) for row in rows]

    async def set_saga_seen(self, order_id: str) -> None:
        """Note that the order has its workflow, so that no sweep looks at it again."""
        await self._connection.execute(
            update(OrderRow).where(col(OrderRow.id) == order_id).values(saga_seen_at=func.now())
        )


def _orders() -> Select[Any]:
    return select_columns(inspect(OrderRow).local_table)


def _transitions(order_id: str) -> Select[*tuple[Any, ...]]:
    columns = (
        col(OrderTransition.seq),
        col(OrderTransition.from_status),
        col(OrderTransition.to_status),
        col(OrderTransition.reason),
        col(OrderTransition.at),
    )
    return select_columns(*columns).where(col(OrderTransition.order_id) == order_id)


def _to_state(row: Any) -> OrderState:
    return OrderState(
        user_id=row.user_id,
        status=OrderStatus(row.status),
        reason=row.reason,
        currency=row.currency,
        total=row.total,
        payment_deadline=row.payment_deadline,
        seq=row.seq,
        updated_at=row.updated_at,
    )


def _to_transition(row: Any) -> Transition:
    return Transition(
        seq=row.seq,
        from_status=None if row.from_status is None else OrderStatus(row.from_status),
        to_status=OrderStatus(row.to_status),
        reason=row.reason,
        at=row.at,
    )


def _to_new_order(row: Any, items: Iterable[OrderItem]) -> NewOrder:
    return NewOrder(
        user_id=row.user_id,
        lines=[OrderLine(product_id=item.product_id, quantity=item.quantity) for item in items],
        currency=row.currency,
        shipping_address=Address(**row.shipping_address),
        payment_method=row.payment_method,
        expected_total=row.expected_total,
        payment_window_seconds=row.payment_window_seconds,
    )
