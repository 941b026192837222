"""Use cases of the order service. What changes an order is one statement, and so one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from domain.ids import new_id
from domain.orders import ALLOWED_FROM, SOLD_STATUSES, OrderStatus
from domain.saga import SagaPolicy
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.clock import Clock
from runtime.database import Database
from runtime.metrics import ATTENTION_RAISED, ORDER_TRANSITIONS
from runtime.refusal import InvalidArgument, Unavailable
from runtime.wakeups import Wakeups, wait_until
from services.order.errors import IdempotencyKeyReused, OrderNotFound
from services.order.events import refund_event, transition_event
from services.order.idempotency import IdempotencyRepository
from services.order.model import (
    Acceptance,
    KnownRefund,
    Mark,
    NewOrder,
    Order,
    OrderFilter,
    OrderItem,
    OrderState,
    OrderSummary,
    Pricing,
    RefundNews,
    saga_input,
)
from services.order.refunds import RefundRepository
from services.order.repository import OrderRepository
from services.order.sagas import Sagas, SagaUnavailable

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

    def __init__(self, database: Database, sagas: Sagas, wakeups: Wakeups, *, policy: SagaPolicy, clock: Clock) -> None:
        self._database = database
        self._sagas = sagas
        self._wakeups = wakeups
        self._policy = policy
        self._clock = clock

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
                    await self._sagas.start(saga_input(order_id, new, self._policy))
                except SagaUnavailable as error:
                    log.warning("order.saga_not_started", order_id=order_id, error=str(error))
            order = await wait_until(
                lambda order: order.status is not OrderStatus.RECEIVED,
                lambda: self.get(order_id, caller=SERVICE),
                moved,
                wait=wait,
                check_first=replayed,
            )
        async with self._database.autocommit() as connection:
            keys = IdempotencyRepository(connection)
            if order.status is OrderStatus.RECEIVED and not accepted_only:
                accepted_only = True
                await keys.set_accepted_only(user_id=new.user_id, route=CREATE_ROUTE, key=idempotency_key)
            elif replayed:  # the first request may have been answered while this one waited
                known = await keys.get(user_id=new.user_id, route=CREATE_ROUTE, key=idempotency_key)
                accepted_only = known.accepted_only
        return Created(order=order, accepted_only=accepted_only, replayed=replayed)

    async def get(self, order_id: str, *, caller: Caller) -> Order:
        """One order with its history.

        Raises:
            OrderNotFound: there is none that the caller may see.
        """
        async with self._database.autocommit() as connection:
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
        async with self._database.autocommit() as connection:
            orders = await OrderRepository(connection).find_summaries(wanted, limit=page_size + 1)
        return OrderPage(orders=orders[:page_size], has_more=len(orders) > page_size)

    async def mark(self, mark: Mark, pricing: Pricing | None = None) -> OrderState:
        """Apply a transition: status, row, event and wake-up by one statement, if the order is where it was found.

        A repeat of the same cause changes nothing. An order that is where the mark may not start from stays there. In
        each case the answer is the order as it stands.

        Raises:
            OrderNotFound: there is no such order.
        """
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            while True:
                found = await repository.find_state(mark.order_id)
                if found is None:
                    raise OrderNotFound(mark.order_id)
                if found.status not in ALLOWED_FROM[mark.to_status]:
                    if not await repository.has_transition(mark.order_id, cause_id=mark.cause_id):
                        log.warning(
                            "order.mark_not_applied", order_id=mark.order_id, wanted=mark.to_status, found=found.status
                        )
                    return found
                moved = found.move(mark, pricing, at=self._clock())
                event = transition_event(mark.order_id, found.status, moved)
                if await repository.move(mark.order_id, origin=found, moved=moved, cause_id=mark.cause_id, event=event):
                    ORDER_TRANSITIONS.labels(moved.status.value).inc()
                    return moved

    async def mark_refunded(self, news: RefundNews) -> OrderState:
        """Take in what became of a refund: kept by one statement, which moves the order if its money did.

        News that are not newer than what the order was told change nothing; nor does any news about an order that
        ended without being paid. In each case the answer is the order as it stands.

        Raises:
            OrderNotFound: there is no such order.
            InvalidArgument: the refund is another order's.
            Unavailable: the order is still open; what its saga marks is on its way.
        """
        async with self._database.autocommit() as connection:
            refunds, orders = RefundRepository(connection), OrderRepository(connection)
            while True:
                known = await refunds.find(news.refund_id)  # before the order, which then has what it was told
                found = await orders.find_state(news.order_id)
                if found is None:
                    raise OrderNotFound(news.order_id)
                if found.status.is_open:
                    raise Unavailable(f"order {news.order_id} is still {found.status}; repeat once it is PAID")
                if found.status not in SOLD_STATUSES or not _is_newer(news, known):
                    return found
                if news.succeeded == (known is not None and known.succeeded):
                    if await refunds.keep(news, found=found, known=known):
                        return found
                    continue
                amount = news.amount if known is None else known.amount
                moved = found.refund(amount if news.succeeded else -amount, at=self._clock())
                event = refund_event(news, found.status, moved, amount=amount)
                if await refunds.keep_and_move(news, found=found, known=known, moved=moved, event=event):
                    ORDER_TRANSITIONS.labels(moved.status.value).inc()
                    _look_at_sum(news.order_id, moved)
                    return moved

    async def raise_attention(self, *, order_id: str, step: str, why: str) -> None:
        """Keep that a step of the order's saga needs a person. Raising it again changes nothing.

        Raises:
            OrderNotFound: there is no such order.
        """
        async with self._database.autocommit() as connection:
            if not await OrderRepository(connection).raise_attention(order_id=order_id, step=step, why=why):
                raise OrderNotFound(order_id)
        ATTENTION_RAISED.labels(step.partition(" ")[0]).inc()  # behind the step may stand an id

    async def clear_attention(self, *, order_id: str, step: str) -> None:
        """Note that the step got through. Clearing what was never raised changes nothing."""
        async with self._database.autocommit() as connection:
            await OrderRepository(connection).clear_attention(order_id=order_id, step=step)

    async def _accept(self, new: NewOrder, idempotency_key: str) -> tuple[str, bool, bool]:
        """The order's id, whether an earlier request made it, and whether that was answered with "accepted" only."""
        acceptance = Acceptance(
            order_id=new_id(),
            route=CREATE_ROUTE,
            key=idempotency_key,
            cause_id=ACCEPTED_CAUSE,
            at=self._clock(),
        )
        event = transition_event(acceptance.order_id, None, _received(new, at=acceptance.at))
        async with self._database.autocommit() as connection:
            if await OrderRepository(connection).accept(new, acceptance, request_hash=new.fingerprint, event=event):
                ORDER_TRANSITIONS.labels(OrderStatus.RECEIVED.value).inc()
                return acceptance.order_id, False, False
            known = await IdempotencyRepository(connection).get(
                user_id=new.user_id, route=CREATE_ROUTE, key=idempotency_key
            )
        if known.request_hash != new.fingerprint:
            raise IdempotencyKeyReused(idempotency_key)
        return known.order_id, True, known.accepted_only


def _received(new: NewOrder, *, at: datetime) -> OrderState:
    return OrderState(
        user_id=new.user_id,
        status=OrderStatus.RECEIVED,
        reason=None,
        currency=new.currency,
        total=None,
        refunded=0,
        payment_id=None,
        payment_deadline=None,
        seq=1,
        updated_at=at,
        items=[OrderItem(product_id=line.product_id, quantity=line.quantity, unit_price=None) for line in new.lines],
    )


def _is_newer(news: RefundNews, known: KnownRefund | None) -> bool:
    """Whether the news of a refund are newer than what its order was told.

    Raises:
        InvalidArgument: it is another order's.
    """
    if known is None:
        return True
    if known.order_id != news.order_id:
        raise InvalidArgument.of({"refund_id": f"is a refund of order {known.order_id}"})
    if known.amount != news.amount:
        log.error("order.refund_differs", refund_id=news.refund_id, known=known.amount, told=news.amount)
    return news.version > known.version


def _look_at_sum(order_id: str, state: OrderState) -> None:
    """More given back than was paid is for a person to look at; the order says REFUNDED, and how much."""
    if state.total is not None and state.refunded > state.total:
        log.error("order.refunded_too_much", order_id=order_id, refunded=state.refunded, total=state.total)
