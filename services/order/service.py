"""Use cases of the order service, one transaction each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import ORDER_EVENTS
from domain.ids import new_id
from domain.orders import EVENT_TYPES, OrderStatus
from domain.saga import SagaPolicy
from ordersaga.events.v1.order_events_pb2 import OrderedLine, OrderTransitioned
from runtime.caller import Caller, CallerRole
from runtime.database import Database
from runtime.outbox import Event
from services.order.errors import IdempotencyKeyReused, OrderNotFound
from services.order.idempotency import IdempotencyRepository
from services.order.model import (
    Mark,
    NewOrder,
    Order,
    OrderFilter,
    OrderItem,
    OrderState,
    OrderSummary,
    Pricing,
    Transition,
    saga_input,
)
from services.order.repository import OrderRepository
from services.order.sagas import SagaStarter, SagaUnavailable
from services.order.wakeups import Wakeups

log = structlog.stdlib.get_logger(__name__)

CREATE_ROUTE: Final = "POST /v1/orders"
ACCEPTED_CAUSE: Final = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The answer to a request for a new order."""

    order: Order
    accepted_only: bool
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPage:
    """Orders, and whether more follow the last of them."""

    orders: list[OrderSummary]
    has_more: bool


class OrderService:
    """Orders, their transitions and attention."""

    def __init__(self, database: Database, starter: SagaStarter, wakeups: Wakeups, *, policy: SagaPolicy) -> None:
        self._database = database
        self._starter = starter
        self._wakeups = wakeups
        self._policy = policy

    async def create(self, new: NewOrder, *, idempotency_key: str, wait: float) -> Created:
        """Accept an order once per user and key, start its saga, and wait up to `wait` seconds for its first outcome.

        A parallel twin waits for the same order. An order whose saga could not be started is accepted all the same:
        the sweep starts it.

        Raises:
            IdempotencyKeyReused: the key stands for another request.
        """
        order_id, replayed, accepted_only = await self._accept(new, idempotency_key)
        with self._wakeups.subscribe(order_id) as moved:
            if not replayed:
                try:
                    await self._starter.start(saga_input(order_id, new, self._policy))
                except SagaUnavailable as error:
                    log.warning("order.saga_not_started", order_id=order_id, error=str(error))
            still_received = await self._is_received_after(order_id, moved, wait)
        async with self._database.transaction() as connection:
            keys = IdempotencyRepository(connection)
            if still_received and not accepted_only:
                accepted_only = True
                await keys.set_accepted_only(user_id=new.user_id, route=CREATE_ROUTE, key=idempotency_key)
            elif replayed:  # the first request may have been answered while this one waited
                known = await keys.get(user_id=new.user_id, route=CREATE_ROUTE, key=idempotency_key)
                accepted_only = known.accepted_only
            order = await OrderRepository(connection).get(order_id)
        assert order is not None, "an accepted order is never deleted"  # noqa: S101  # a broken promise, not an input
        return Created(order=order, accepted_only=accepted_only, replayed=replayed)

    async def get(self, order_id: str, *, caller: Caller) -> Order:
        """One order with its history.

        Raises:
            OrderNotFound: there is none that the caller may see.
        """
        async with self._database.transaction() as connection:
            order = await OrderRepository(connection).get(order_id)
        if order is None or not caller.may_see(order.user_id):
            raise OrderNotFound(order_id)
        return order

    async def list_orders(
        self, *, caller: Caller, status: OrderStatus | None, before: str | None, page_size: int
    ) -> OrderPage:
        """At most `page_size` orders, the newest first, from the one before the id `before`.

        A customer gets their own, an admin everybody's.
        """
        wanted = OrderFilter(
            user_id=None if caller.role is CallerRole.ADMIN else caller.id, status=status, before=before
        )
        async with self._database.transaction() as connection:
            orders = await OrderRepository(connection).find_summaries(wanted, limit=page_size + 1)
        return OrderPage(orders=orders[:page_size], has_more=len(orders) > page_size)

    async def mark(self, mark: Mark, pricing: Pricing | None = None) -> OrderState:
        """Apply a transition, with its row, its event and the wake-up in one transaction.

        A repeat of the same cause changes nothing. An order that is where the mark may not start from stays there. In
        each case the answer is the order as it stands.

        Raises:
            OrderNotFound: there is no such order.
        """
        async with self._database.transaction() as connection:
            repository = OrderRepository(connection)
            moved = await repository.move(mark, pricing)
            if moved is None:
                state = await repository.get_state(mark.order_id)
                if state is None:
                    raise OrderNotFound(mark.order_id)
                if await repository.find_transition(mark.order_id, mark.cause_id) is None:
                    log.warning(
                        "order.mark_not_applied", order_id=mark.order_id, wanted=mark.to_status, found=state.status
                    )
                return state
            from_status, state = moved
            if pricing is not None:
                await repository.set_prices(mark.order_id, pricing.lines)
            transition = Transition(
                seq=state.seq,
                from_status=from_status,
                to_status=state.status,
                reason=state.reason,
                at=state.updated_at,
            )
            items = await repository.get_items(mark.order_id)
            event = _event(mark.order_id, transition, state, items)
            await repository.add_transition(mark.order_id, transition, cause_id=mark.cause_id, event=event)
            return state

    async def raise_attention(self, *, order_id: str, step: str, why: str) -> None:
        """Keep that a step of the order's saga needs a person. Raising it again changes nothing.

        Raises:
            OrderNotFound: there is no such order.
        """
        async with self._database.transaction() as connection:
            repository = OrderRepository(connection)
            if await repository.get_status(order_id) is None:
                raise OrderNotFound(order_id)
            await repository.raise_attention(order_id=order_id, step=step, why=why)

    async def clear_attention(self, *, order_id: str, step: str) -> None:
        """Note that the step got through. Clearing what was never raised changes nothing."""
        async with self._database.transaction() as connection:
            await OrderRepository(connection).clear_attention(order_id=order_id, step=step)

    async def _accept(self, new: NewOrder, idempotency_key: str) -> tuple[str, bool, bool]:
        """The order's id, whether an earlier request made it, and whether that was answered with "accepted" only."""
        order_id = new_id()
        async with self._database.transaction() as connection:
            keys, orders = IdempotencyRepository(connection), OrderRepository(connection)
            claimed = await keys.claim(
                user_id=new.user_id,
                route=CREATE_ROUTE,
                key=idempotency_key,
                request_hash=new.fingerprint,
                order_id=order_id,
            )
            if not claimed:
                known = await keys.get(user_id=new.user_id, route=CREATE_ROUTE, key=idempotency_key)
                if known.request_hash != new.fingerprint:
                    raise IdempotencyKeyReused(idempotency_key)
                return known.order_id, True, known.accepted_only
            at = await orders.now()
            await orders.add(order_id, new, at=at)
            await self._write_received(orders, order_id, new, at)
        return order_id, False, False

    async def _write_received(self, orders: OrderRepository, order_id: str, new: NewOrder, at: datetime) -> None:
        transition = Transition(seq=1, from_status=None, to_status=OrderStatus.RECEIVED, reason=None, at=at)
        state = OrderState(
            user_id=new.user_id,
            status=OrderStatus.RECEIVED,
            reason=None,
            currency=new.currency,
            total=None,
            payment_deadline=None,
            seq=1,
            updated_at=at,
        )
        items = [OrderItem(product_id=line.product_id, quantity=line.quantity, unit_price=None) for line in new.lines]
        event = _event(order_id, transition, state, items)
        await orders.add_transition(order_id, transition, cause_id=ACCEPTED_CAUSE, event=event)

    async def _is_received_after(self, order_id: str, moved: asyncio.Event, wait: float) -> bool:
        """Whether the order is still RECEIVED once it moved or `wait` seconds have passed."""
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            moved.clear()
            async with self._database.transaction() as connection:
                status = await OrderRepository(connection).get_status(order_id)
            if status is not OrderStatus.RECEIVED:
                return False
            if asyncio.get_running_loop().time() >= deadline:
                return True
            with suppress(TimeoutError):  # in vain: look nevertheless, because the wake-up may have been lost
                async with asyncio.timeout_at(deadline):
                    await moved.wait()


def _event(order_id: str, transition: Transition, state: OrderState, items: list[OrderItem]) -> Event:
    """The event that mirrors a transition."""
    data = OrderTransitioned(
        order_id=order_id,
        user_id=state.user_id,
        from_status=transition.from_status or "",
        to_status=transition.to_status,
        reason=transition.reason or "",
        currency=state.currency,
        total=state.total,
        lines=[
            OrderedLine(product_id=item.product_id, quantity=item.quantity, unit_price=item.unit_price)
            for item in items
        ],
        at=_timestamp(transition.at),
        payment_deadline=None if state.payment_deadline is None else _timestamp(state.payment_deadline),
    )
    return Event(
        topic=ORDER_EVENTS,
        key=order_id,
        type=EVENT_TYPES[transition.to_status],
        aggregate="order",
        aggregate_id=order_id,
        seq=transition.seq,
        cause_id=order_id,
        data=data,
        at=transition.at,
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
