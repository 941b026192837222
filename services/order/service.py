"""Use cases of the order service. What changes an order is one statement, and so one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from domain.ids import is_id, new_id
from domain.order_numbers import new_order_number, parse_order_number
from domain.orders import ALLOWED_FROM, SOLD_STATUSES, OrderStatus
from domain.saga import SagaPolicy
from runtime.caller import SERVICE, Caller, PermissionDenied
from runtime.clock import Clock
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.idempotency import FirstRequest, IdempotencyKeys, IdempotentRequest
from runtime.metrics import ORDER_SECONDS, ORDER_TRANSITIONS
from runtime.recent import Recent
from runtime.refusal import InvalidArgument, Shed, Unavailable
from runtime.tracing import note_order
from runtime.wakeups import Wakeups, wait_until
from services.order.admission import Admission
from services.order.customer_limits import CustomerLimits
from services.order.errors import OrderNotFound
from services.order.events import refund_event, transition_event
from services.order.lists import OrderFilter
from services.order.model import (
    Acceptance,
    AcceptedOrder,
    History,
    Mark,
    NewOrder,
    Order,
    OrderItem,
    OrderState,
    OrderSummary,
    Pricing,
    RefundUpdate,
)
from services.order.refund_repository import RefundRepository
from services.order.repository import NumberTaken, OrderRepository
from services.order.sagas import Sagas

log = structlog.stdlib.get_logger(__name__)

CREATE_ROUTE: Final = "POST /v1/orders"
CREATE_GUEST_ROUTE: Final = "POST /v1/guest-orders"
ON_BEHALF: Final = " on behalf"
"""Behind a route: its keys are the back end's for a customer, who cannot take them with requests of their own."""
ACCEPTED_CAUSE: Final = "accepted"
START_AFTER: Final = timedelta(seconds=5)
"""An order this old in RECEIVED may have no saga: nearly all have left it by then, and each was started once."""


_KNOWN_SECONDS: Final = 60.0
"""How long it is remembered where an order was left: nearly all move on within seconds, or wait to be paid."""
_MOST_KNOWN: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The answer to a request for a new order."""

    order: Order
    accepted_only: bool
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPage:
    """Orders, and behind which one the next page goes on; None where there is none.

    Of a list by total or text a page may be short, or empty, and not be the last: see `services.order.lists`.
    """

    orders: list[OrderSummary]
    next_before: str | None


class OrderService:
    """Orders and their transitions."""

    def __init__(
        self,
        database: Database,
        sagas: Sagas,
        wakeups: Wakeups,
        *,
        policy: SagaPolicy,
        clock: Clock,
        admission: Admission,
        new_number: Callable[[], str] = new_order_number,
    ) -> None:
        """`admission` says whether a new order may come in; `new_number` draws the number of one."""
        self._database = database
        self._sagas = sagas
        self._wakeups = wakeups
        self._policy = policy
        self._clock = clock
        self._admission = admission
        self._new_number = new_number
        self._known = Recent[OrderState](seconds=_KNOWN_SECONDS, most=_MOST_KNOWN)

    async def create(
        self, new: NewOrder, *, idempotency_key: str, wait: float, limits: CustomerLimits | None = None
    ) -> Created:
        """Accept an order once per user and key, start its saga, and wait up to `wait` seconds for its first outcome.

        A concurrent duplicate waits for the same order, as long as the first request does. An order whose saga could
        not be started is accepted all the same: it is due for another start. While there is more to do than can be
        done, a new order is turned away before it is stored, and a repeat of an accepted one is answered as ever.

        Args:
            new: the order.
            idempotency_key: of the user.
            wait: seconds.
            limits: of what its customer may have unpaid, exact however many orders come at once; None for no limit.

        Raises:
            TooManyOpenOrders, TooManyHeldUnits: the customer has too much unpaid; the key stands for nothing.
            IdempotencyKeyReused: the key stands for another request.
            IdempotencyKeyInUse: the first request waits for longer than this one's caller.
            Shed: no new order may come in now; the key stands for nothing.
        """
        request = IdempotentRequest.of(
            new.content,
            user_id=new.placed_by,
            route=_route_of(new),
            key=idempotency_key,
            wait=wait,
            at=self._clock(),
        )
        first = await self._let_in(new, request, limits)
        order_id = first.subject_id
        with self._wakeups.subscribe(order_id) as moved:
            is_started = not first.replayed and await self._start(new, order_id)
            order = await wait_until(
                lambda order: order.left_received_at is not None,
                lambda: self.get(order_id, caller=SERVICE),
                moved,
                wait=first.seconds_to_wait(wait, at=self._clock()),
                check_first=first.replayed,
            )
        accepted_only = not first.answered_with(order.left_received_at, at=self._clock())
        if is_started and order.left_received_at is None:
            await self._note_started(order_id)
        return Created(order=order, accepted_only=accepted_only, replayed=first.replayed)

    async def start_due(self, claimed: Claimed[AcceptedOrder]) -> None:
        """Start the saga of an order that may have none: it was accepted, so it has to run."""
        order = claimed.item
        await self._sagas.start(order.saga_input(order.id, self._policy, waited=self._clock() - order.created_at))
        await self._note_started(order.id)

    async def get(self, reference: str, *, caller: Caller) -> Order:
        """One order with its history, by its id or its number.

        Raises:
            OrderNotFound: there is none that the caller may see.
        """
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            order_id = await _to_id(repository, reference)
            order = None if order_id is None else await repository.get(order_id)
        if order is None or not caller.may_see(order.user_id, order_id=order.id):
            raise OrderNotFound(reference)
        return order

    async def list_transitions(self, reference: str, *, caller: Caller, after: int) -> History:
        """The transitions of an order, by its id or its number, behind number `after`.

        Raises:
            OrderNotFound: there is none that the caller may see.
        """
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            order_id = await _to_id(repository, reference)
            history = None if order_id is None else await repository.get_history(order_id, after=after)
        if history is None or not caller.may_see(history.user_id, order_id=history.id):
            raise OrderNotFound(reference)
        return history

    async def list_orders(self, wanted: OrderFilter, *, caller: Caller, page_size: int) -> OrderPage:
        """At most `page_size` orders, the newest first: of a customer's own, or of everybody's for an admin.

        Raises:
            PermissionDenied: a customer asks for somebody else's, or for what needs a person.
            InvalidArgument: a text is searched for among everybody's orders, each of which would have to be read.
        """
        if not caller.sees_all:
            if wanted.user_id not in (None, caller.id) or wanted.needs_attention:
                raise PermissionDenied("customers may list their own orders, and not by who else is needed for them")
            wanted = replace(wanted, user_id=caller.id)
        if wanted.search and wanted.user_id is None:
            raise InvalidArgument.of({"search": "is for the orders of one customer: name them as well"})
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            orders = await repository.find_summaries(wanted, limit=page_size + 1)
            if len(orders) > page_size:
                return OrderPage(orders=orders[:page_size], next_before=orders[page_size - 1].id)
            return OrderPage(orders=orders, next_before=await repository.find_last_looked_through(wanted))

    async def mark(self, mark: Mark, pricing: Pricing | None = None) -> OrderState:
        """Apply a transition: status, row, event and wake-up by one statement, if the order is where it was found.

        A repeat of the same cause changes nothing. An order that is where the mark may not start from stays there. In
        each case the answer is the order as it stands.

        Raises:
            OrderNotFound: there is no such order.
            InvalidArgument: the total is not that of the lines with the order's adjustments.
        """
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            known = self._known.get(mark.order_id)
            if known is not None and known.status in ALLOWED_FROM[mark.to_status]:
                moved = await self._move(repository, known, mark, pricing)
                if moved is not None:
                    return moved
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
                moved = await self._move(repository, found, mark, pricing)
                if moved is not None:
                    return moved

    async def _move(
        self, repository: OrderRepository, found: OrderState, mark: Mark, pricing: Pricing | None
    ) -> OrderState | None:
        """Move an order from where it was read, or left by this process; None when it is not there any more."""
        if pricing is not None:
            pricing.check_total(found.adjustments)
        moved = found.move(mark, pricing, at=self._clock())
        event = transition_event(found.status, moved)
        self._known.forget(mark.order_id)
        if not await repository.move(origin=found, moved=moved, cause_id=mark.cause_id, event=event):
            return None
        self._remember(moved)
        ORDER_TRANSITIONS.labels(moved.status.value).inc()
        ORDER_SECONDS.labels(moved.status.value).observe((moved.updated_at - moved.created_at).total_seconds())
        return moved

    def _remember(self, state: OrderState) -> None:
        """Remember where an order was left whose next mark is to come.

        Not a guest's, which may become an account's meanwhile; that is no transition.
        """
        if state.status.is_open and not state.is_guest:
            self._known.put(state.id, state)

    async def mark_refunded(self, update: RefundUpdate) -> OrderState:
        """Apply an update of a refund: recorded by one statement, which moves the order if its money moved.

        An update that is not newer than what the order has changes nothing; nor does one of an order that ended
        without being paid. In each case the answer is the order as it stands.

        Raises:
            OrderNotFound: there is no such order.
            InvalidArgument: the refund is another order's.
            Unavailable: the order is still open; what its saga marks is on its way.
        """
        async with self._database.autocommit() as connection:
            refunds, orders = RefundRepository(connection), OrderRepository(connection)
            while True:
                known = await refunds.find(update.refund_id)  # before the order, which then has what the refund says
                found = await orders.find_state(update.order_id)
                if found is None:
                    raise OrderNotFound(update.order_id)
                if found.status.is_open:
                    raise Unavailable(f"order {update.order_id} is still {found.status}; repeat once it is PAID")
                if found.status not in SOLD_STATUSES or not _is_newer(update, known):
                    return found
                if update.succeeded == (known is not None and known.succeeded):
                    if await refunds.record(update, found=found, known=known):
                        return found
                    continue
                amount = update.amount if known is None else known.amount
                moved = found.refund(amount if update.succeeded else -amount, at=self._clock())
                event = refund_event(update, found.status, moved, amount=amount)
                if await refunds.record_and_move(update, found=found, known=known, moved=moved, event=event):
                    ORDER_TRANSITIONS.labels(moved.status.value).inc()
                    _check_sum(moved)
                    return moved

    async def restart(self, order_id: str) -> bool:
        """Start the order's saga again whose workflow is gone; false when it runs, or there is nothing to do.

        A run that ended by itself has closed its order. If the order is open all the same, one of the two databases is
        not up to date, and another run finds out what is to be done.

        Raises:
            OrderNotFound: there is no such order.
            Unavailable: whether it started is not known; repeat.
        """
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            order, state = await repository.find_accepted(order_id), await repository.find_state(order_id)
        if order is None or state is None:
            raise OrderNotFound(order_id)
        waited = self._clock() - order.created_at
        return await self._sagas.restart(
            order.saga_input(order.id, self._policy, waited=waited, is_repair=True), is_open=state.status.is_open
        )

    async def is_open(self, order_id: str) -> bool:
        """Whether there is such an order, and its saga still has work to do."""
        async with self._database.autocommit() as connection:
            state = await OrderRepository(connection).find_state(order_id)
        return state is not None and state.status.is_open

    async def _start(self, new: NewOrder, order_id: str) -> bool:
        """Start the saga of a new order, or leave that to `start_due`; whether it is known to have started."""
        with self._admission.coming_in():
            try:
                await self._sagas.start(new.saga_input(order_id, self._policy))
            except Unavailable as problem:
                log.warning("order.saga_not_started", order_id=order_id, problem=str(problem))
                return False
        return True

    async def _note_started(self, order_id: str) -> None:
        """Keep in mind that the order has its workflow: looking for that costs as much as starting one."""
        async with self._database.autocommit() as connection:
            await OrderRepository(connection).set_saga_seen(order_id)

    async def _let_in(self, new: NewOrder, request: IdempotentRequest, limits: CustomerLimits | None) -> FirstRequest:
        """The request that made the order, unless it would be a new one and none may come in.

        Raises:
            Shed: so it is.
        """
        reason = await self._admission.find_reason()
        if reason is not None:
            return await self._find_first(request, reason)
        with self._admission.coming_in():
            return await self._accept(new, request, limits)

    async def _find_first(self, request: IdempotentRequest, turned_away: Shed) -> FirstRequest:
        """The request that was accepted with this key before new ones were `turned_away`.

        Raises:
            Shed: there was none.
        """
        async with self._database.autocommit() as connection:
            try:
                return await IdempotencyKeys(connection).get_first(request)
            except LookupError:
                raise turned_away from None

    async def _accept(self, new: NewOrder, request: IdempotentRequest, limits: CustomerLimits | None) -> FirstRequest:
        """The request that made the order: this one, or an earlier one with its key."""
        while True:
            acceptance = Acceptance(
                order_id=new_id(),
                number=self._new_number(),
                request=request,
                cause_id=ACCEPTED_CAUSE,
                at=self._clock(),
                start_after=START_AFTER,
            )
            try:
                first = await self._store(new, acceptance, limits)
            except NumberTaken:
                continue
            if not first.replayed:
                note_order(acceptance.order_id)
                log.info("order.accepted", order_id=acceptance.order_id, number=acceptance.number)
                ORDER_TRANSITIONS.labels(OrderStatus.RECEIVED.value).inc()
            return first

    async def _store(self, new: NewOrder, acceptance: Acceptance, limits: CustomerLimits | None) -> FirstRequest:
        """Store the order by one statement; where there are limits, in its customer's turn.

        A statement that waited for the turn itself would count what there was before it waited.
        """
        request, received = acceptance.request, _received(new, acceptance)
        event = transition_event(None, received)
        async with self._database.autocommit() if limits is None else self._database.transaction() as connection:
            repository, keys = OrderRepository(connection), IdempotencyKeys(connection)
            if limits is not None:
                await repository.lock_customer(new)
                excess = limits.find_excess(await repository.read_holdings(new), wanted=new.units)
                if excess is not None:
                    try:
                        return await keys.get_first(request)
                    except LookupError:
                        raise excess from None
            if not await repository.accept(new, acceptance, event=event):
                return await keys.get_first(request)
        self._remember(received)  # once it is committed
        return request.as_first(acceptance.order_id)


def _route_of(new: NewOrder) -> str:
    """Where keys of such an order are sent."""
    route = CREATE_ROUTE if new.guest is None else CREATE_GUEST_ROUTE
    return route + ON_BEHALF if new.on_behalf else route


async def _to_id(repository: OrderRepository, reference: str) -> str | None:
    if is_id(reference):
        return reference
    number = parse_order_number(reference)
    return None if number is None else await repository.find_id(number)


def _received(new: NewOrder, acceptance: Acceptance) -> OrderState:
    return OrderState(
        id=acceptance.order_id,
        number=acceptance.number,
        user_id=new.user_id,
        status=OrderStatus.RECEIVED,
        currency=new.currency,
        created_at=acceptance.at,
        seq=1,
        updated_at=acceptance.at,
        items=[OrderItem(product_id=line.product_id, quantity=line.quantity) for line in new.lines],
        adjustments=new.adjustments,
        is_guest=new.guest is not None,
    )


def _is_newer(update: RefundUpdate, known: RefundUpdate | None) -> bool:
    """Whether the update of a refund is newer than the one that its order has.

    Raises:
        InvalidArgument: it is another order's refund.
    """
    if known is None:
        return True
    if known.order_id != update.order_id:
        raise InvalidArgument.of({"refund_id": f"is a refund of order {known.order_id}"})
    if known.amount != update.amount:
        log.error("order.refund_differs", refund_id=update.refund_id, known=known.amount, update=update.amount)
    return update.version > known.version


def _check_sum(state: OrderState) -> None:
    """More refunded than was paid is for a person to look at; the order says REFUNDED, and how much."""
    if state.total is not None and state.refunded > state.total:
        log.error("order.refunded_too_much", order_id=state.id, refunded=state.refunded, total=state.total)
