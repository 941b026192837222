"""One case: an order with a shop of its own, the schedule that it runs under, and what was seen of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from domain.ids import new_id
from domain.orders import CancelledBy, OrderLine
from domain.saga import (
    CANCEL_UPDATE,
    PAYMENT_CHANGED_SIGNAL,
    CancelRequest,
    MarkPendingRequest,
    OpenPaymentRequest,
    OrderInput,
    OrderResult,
    ReserveRequest,
    SagaPolicy,
    order_workflow_id,
)
from tests.doubles.shop import DoubledShop
from tests.doubles.stripe import Intent
from tests.explorer import clock, events
from tests.explorer.schedule import Arrival, Fault, Schedule, numbered
from tests.explorer.shapes import SHAPES
from tests.explorer.turn import Turn
from tests.explorer.wish import Wish

Answer = TypeVar("Answer")

PRODUCT: Final = "product"
UNITS: Final = 5
ORDERED: Final = 2
PRICE: Final = 1_000
POLICY: Final = SagaPolicy(payment_attempts=3, attention_after_seconds=60, payment_event_patience_seconds=5)
MOST_CALLS: Final = 120
"""More steps than any order needs: a case with more of them would go on for ever."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A point that the run came to, and the events that were possible there; or, without a point, a call of a step."""

    point: str
    call: str
    events: Sequence[str] = ()
    is_local: bool = False
    """Whether the step at whose end it is was a local activity: what comes now is seen when the next one is done."""


@dataclass(slots=True)
class Case:
    """An order under a schedule."""

    schedule: Schedule
    client: Client
    shop: DoubledShop = field(default_factory=DoubledShop)
    order_id: str = field(default_factory=new_id)
    user_id: str = field(default_factory=new_id)
    trace: list[str] = field(default_factory=list)
    """What took effect and what arrived, in its order."""
    seen: list[Seen] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    """How often each step was called."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often the run came to each point."""
    away: Counter[str] = field(default_factory=Counter)
    """How many more calls of a step fail."""
    barred: dict[str, str] = field(default_factory=dict)
    """Step to the refusal of each of its calls."""
    parked: Counter[str] = field(default_factory=Counter)
    """How often a step was refused and waited for a person."""
    is_endless: bool = False
    pending_request: MarkPendingRequest | None = None
    happened: Counter[str] = field(default_factory=Counter)
    """How often each event arrived."""
    dies: bool = False
    """Whether the worker is to die with the workflow task that it is at."""
    is_retry: bool = False
    """Whether the workflow task under way is a repeated one."""
    is_inside: bool = False
    """Whether the payment service is in the middle of a step: it works at one order's calls one by one."""
    is_owed_events: bool = False
    """Whether Stripe's events wait for the payment service to be done."""
    slow_looks: int = events.SLOW_LOOKS
    """How often money on its way is looked at before it settles by itself."""
    wish: Wish = field(default_factory=Wish)
    turn: Turn = field(default_factory=Turn)
    last_event_id: str | None = None
    began: datetime | None = None
    ended: datetime | None = None
    """By the server's clock, as the workflow sees it."""

    @property
    def workflow_id(self) -> str:
        """The order's workflow."""
        return order_workflow_id(self.order_id)

    @property
    def handle(self) -> WorkflowHandle[object, object]:
        """To talk to the order's workflow."""
        return self.client.get_workflow_handle(self.workflow_id)

    @property
    def intent(self) -> Intent | None:
        """The order's intent at Stripe."""
        return self.shop.intent(self.order_id)

    @property
    def took(self) -> timedelta:
        """How long the order has been under way, by the server's clock."""
        return timedelta() if self.began is None or self.ended is None else self.ended - self.began

    @property
    def fingerprint(self) -> str:
        """The same for the same trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:20]

    def order(self) -> OrderInput:
        """What the workflow starts with; the order is accepted first."""
        shape = SHAPES[self.schedule.shape]
        lines = [OrderLine(PRODUCT, ORDERED)]
        self.shop.add_product(PRODUCT, price=PRICE, units=UNITS)
        self.shop.accept(self.order_id, lines)
        return OrderInput(
            order_id=self.order_id,
            user_id=self.user_id,
            lines=lines,
            currency="EUR",
            payment_method=shape.payment_method,
            expected_total=None,
            payment_window_seconds=shape.window,
            policy=POLICY,
        )

    async def arrive(self, point: str, *, is_local: bool = False) -> None:
        """The run comes to a point: what is to happen there happens."""
        self.counts[point] += 1
        label = numbered(point, self.counts[point])
        self.seen.append(Seen(label, "", events.possible(self, point), is_local))
        for move in self.schedule.moves:
            if isinstance(move, Arrival) and move.point == label:
                self.trace.append(f"@{move.event}")
                self.happened[move.event] += 1
                await events.EVENTS[move.event].happen(self)

    def called(self, step: str) -> str | None:
        """A step is called: how this call goes wrong, if it does."""
        self.calls[step] += 1
        call = numbered(step, self.calls[step])
        self.seen.append(Seen("", call))
        for move in self.schedule.moves:
            if isinstance(move, Fault) and move.call == call:
                return move.kind
        return None

    async def deliver(self) -> None:
        """Stripe's events arrive; the payment service, busy with this order, takes them when it is done."""
        self.is_owed_events = self.is_inside
        if self.is_inside:
            return
        try:
            event_ids = self.shop.take_events()
        except ApplicationError:
            return  # the inbox flags the event; what it could not do is seen by the invariants
        for event_id in event_ids:
            self.last_event_id = event_id
            await self.signal(event_id)

    async def signal(self, event_id: str) -> None:
        """Wake the workflow; a closed one decides nothing."""
        with _unless_closed():
            await self.handle.signal(PAYMENT_CHANGED_SIGNAL, event_id)

    async def cancel_workflow(self) -> None:
        """Raw cancellation."""
        self.wish.send()
        with _unless_closed():
            await self.handle.cancel()

    async def ask_to_cancel(self) -> None:
        """The order service tells the saga of a wish to cancel; returns when the server has it, not the saga."""
        self.wish.send()
        self.wish.answer = asyncio.create_task(self._ask_saga_to_cancel())
        while not self.wish.answer.done() and not await self._knows_update():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.005)

    async def _ask_saga_to_cancel(self) -> OrderResult | None:
        request = CancelRequest(cancelled_by=CancelledBy.CUSTOMER)
        with _unless_closed():
            answer: object = await self.handle.execute_update(
                CANCEL_UPDATE, request, id=CANCEL_UPDATE, result_type=OrderResult
            )
            return answer if isinstance(answer, OrderResult) else None
        return None

    async def _knows_update(self) -> bool:
        reference = UpdateRef(
            workflow_execution=WorkflowExecution(workflow_id=self.workflow_id), update_id=CANCEL_UPDATE
        )
        request = PollWorkflowExecutionUpdateRequest(namespace=self.client.namespace, update_ref=reference)
        with _unless_closed():
            await self.client.workflow_service.poll_workflow_execution_update(request)
            return True
        return False

    async def give_up(self, breach: str) -> None:
        """End a case that would never end; called from one of its steps, whose report then comes too late."""
        self.breaches.append(breach)
        await self.handle.terminate()
        await clock.give_back_a_lock(self.client)

    async def meanwhile(self, step: str) -> None:
        """The payment service is between its look at Stripe and what follows."""
        if self.is_inside:  # else a late request, which is no step of this run
            await self.arrive(f"{step}.inside")

    def reserve_request(self) -> ReserveRequest:
        """What `reserve` is asked."""
        return ReserveRequest(order_id=self.order_id, lines=[OrderLine(PRODUCT, ORDERED)])

    def open_request(self) -> OpenPaymentRequest:
        """What `open_payment` is asked."""
        return OpenPaymentRequest(
            order_id=self.order_id,
            user_id=self.user_id,
            amount=PRICE * ORDERED,
            currency="EUR",
            payment_method=SHAPES[self.schedule.shape].payment_method,
        )

    async def late(self, call: Callable[[], Awaitable[Answer]]) -> None:
        """A request that was thought lost arrives; nobody hears the answer."""
        with suppress(ApplicationError):
            await call()


class _unless_closed:  # noqa: N801  # reads as a function
    """Ignores that the workflow is closed."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        return isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
