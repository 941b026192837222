"""One case: an order in an installation of its own, the schedule that it runs under, and what was seen of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import (
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from domain.saga import CANCEL_UPDATE
from domain.stuck_steps import RESOLVE_UPDATE, RETRY_UPDATE
from ordersaga.order.v1 import order_pb2
from runtime.caller import Caller, CallerRole
from tests.saga.simulator import background, time_skipping
from tests.saga.simulator.at_stripe import AtStripe
from tests.saga.simulator.cancelling import Cancelling
from tests.saga.simulator.events import Events, Where
from tests.saga.simulator.schedule import Arrival, Fault, Move, Schedule, numbered
from tests.saga.simulator.slot import Slot
from tests.saga.simulator.stripe_calls import STEP_UNDER_WAY
from tests.saga.simulator.turns import Flow, Turns
from tests.support.identities import signed_in

MOST_CALLS = 160
"""More steps than any case needs: one with more of them would go on for ever."""
KINDS = {"order": "", "refund": "r", "dispute": "d"}
"""By the beginning of a workflow's id: what its name begins with."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A place that the run came to: a point with the events that were possible there, or a call with its faults."""

    place: str
    events: Sequence[str] = ()
    faults: Sequence[str] = ()
    is_followed_at_once: bool = False
    """Whether nothing lies between it and the call that comes next, if one does."""

    @property
    def is_call(self) -> bool:
        """Whether it is a call."""
        return bool(self.faults)


@dataclass(slots=True, eq=False)
class Run:
    """One run of a workflow."""

    flow: Flow
    result: asyncio.Task[Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case."""

    schedule: Schedule
    fingerprint: str
    trace: Sequence[str]
    seen: Sequence[Seen]
    breaches: Sequence[str]
    stalls: int = 0


class Beginning(Protocol):
    """How a case begins."""

    @property
    def moves(self) -> Sequence[Move]:
        """What happens in every such case."""

    @property
    def events(self) -> Events:
        """What can happen in it."""

    @property
    def is_of_an_order(self) -> bool:
        """Whether it begins with an order's saga."""

    async def begin(self, case: Case) -> None:
        """Bring the services there; its workflows start."""


@dataclass(slots=True, eq=False)
class Case:
    """An order under a schedule."""

    schedule: Schedule
    slot: Slot
    beginning: Beginning
    """What it begins with."""
    register: Callable[[str, Case], object] = lambda workflow_id, case: None
    """Is given each of its workflows."""
    order_id: str = ""
    user_id: str = ""
    product_id: str = ""
    turns: Turns = field(default_factory=Turns)
    trace: list[str] = field(default_factory=list)
    """What took effect and what happened, in its order."""
    seen: list[Seen] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    """How often each step, or call of Stripe in it, was made."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often the run came to each point."""
    happened: Counter[str] = field(default_factory=Counter)
    """How often each event happened."""
    requests: dict[str, Any] = field(default_factory=dict)
    """Step to what it was asked first."""
    effects: Counter[str] = field(default_factory=Counter)
    """How often each step took effect."""
    last_event_id: str | None = None
    """Of Stripe's, that was delivered."""
    away: Counter[str] = field(default_factory=Counter)
    """How many more calls of a step fail."""
    barred: dict[str, str] = field(default_factory=dict)
    """Step to the refusal of each of its calls."""
    decisions: Counter[str] = field(default_factory=Counter)
    """How often a person decided about a parked step."""
    scheduled_decision: str = ""
    """What the person at the parked step was scheduled to decide."""
    done_by_hand: set[str] = field(default_factory=set)
    """Steps that a person resolved."""
    looks: Counter[str] = field(default_factory=Counter)
    """How often what Stripe, or a bank, is not done with was looked at."""
    was_delivered_inside: bool = False
    """Whether events came while the step under way was at it: some may have to be processed again."""
    requested_restock: int = 0
    """Units that were asked to be put back into stock."""
    is_endless: bool = False
    began: datetime | None = None
    ended: datetime | None = None
    """By the server's clock, as the order's workflow sees it."""
    runs: dict[str, Run] = field(default_factory=dict)
    """By run id."""
    cancellation: asyncio.Task[None] | None = None
    """The customer's request to cancel, as long as it is answered."""
    updates: list[WorkflowUpdateHandle[Any]] = field(default_factory=list)
    """Requests to cancel that the saga accepted."""
    _flows: dict[str, Flow] = field(default_factory=dict)
    _cancellings: dict[Flow, Cancelling] = field(default_factory=dict)
    _retries: list[asyncio.Task[None]] = field(default_factory=list)
    _stray: int = 0

    @property
    def at_stripe(self) -> AtStripe:
        """What there is of the order."""
        return self.slot.stripe.look()

    @property
    def took(self) -> timedelta:
        """How long the order's workflow ran, by the server's clock."""
        return timedelta() if self.began is None or self.ended is None else self.ended - self.began

    @property
    def fingerprint(self) -> str:
        """The same for the same trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:20]

    @property
    def has_money(self) -> bool:
        """Whether money came in: without it there are neither refunds nor disputes."""
        return self.at_stripe.intent is not None and self.at_stripe.intent.amount_received > 0

    # What the run comes to

    async def arrive(self, point: str, where: Where, flow: Flow | None, *, is_followed_at_once: bool = False) -> None:
        """The run comes to a point: what is to happen there happens."""
        self.counts[point] += 1
        label = numbered(point, self.counts[point])
        self.seen.append(
            Seen(
                label,
                events=self.beginning.events.possible(self, where, flow),
                is_followed_at_once=is_followed_at_once,
            )
        )
        for move in (*self.beginning.moves, *self.schedule.moves):
            if isinstance(move, Arrival) and move.point == label:
                self.trace.append(f"@{move.event}")
                await self.beginning.events.happen(self, move.event, flow)

    async def arrive_waiting(self, flow: Flow) -> None:
        """The workflow waits."""
        async with self.turns.wait(flow):
            await self.arrive(flow.prefixed("wait"), Where.WAIT, flow)

    def called(self, name: str, faults: Sequence[str]) -> str | None:
        """A call is made: how it goes wrong, if it does."""
        self.calls[name] += 1
        call = numbered(name, self.calls[name])
        self.seen.append(Seen(call, faults=faults))
        kinds = [move.kind for move in self.schedule.moves if isinstance(move, Fault) and move.call == call]
        return kinds[0] if kinds else None

    def saw_time(self, flow: Flow, now: datetime) -> None:
        """A workflow task ran at this time of the server's."""
        if not flow.name:
            self.began, self.ended = self.began or now, now

    # Its workflows (see `temporal_calls.Workflows`)

    @property
    def is_of_an_order(self) -> bool:
        """Whether it begins with an order's saga; else with an order that is sold, or was undone."""
        return self.beginning.is_of_an_order

    def name_of(self, refund_id: str) -> str:
        """As schedules call a refund."""
        flow = self._flows.get(f"refund-{refund_id}")
        return refund_id if flow is None else flow.name

    def flow_of(self, workflow_id: str) -> Flow:
        """The workflow of this id, a new one if there is none yet."""
        if workflow_id not in self._flows:
            kind = KINDS[workflow_id.partition("-")[0]]
            number = 1 + sum(bool(kind) and flow.name.startswith(kind) for flow in self._flows.values())
            name = f"{kind}{number}" if kind else ""
            self._flows[workflow_id] = self.turns.add(name, workflow_id, waits_are_points=not kind)
            self.register(workflow_id, self)
        return self._flows[workflow_id]

    def cancelling_of(self, flow: Flow) -> Cancelling:
        """What is asked of a workflow, and abandoned by it."""
        return self._cancellings.setdefault(flow, Cancelling())

    def expect(self, flow: Flow, change: int = 1) -> None:
        """So much more, or less, is on its way to the workflow."""
        self.turns.expect(flow, change)

    def cancelling(self, flow: Flow) -> None:
        """A request to cancel is on its way to it."""
        self.cancelling_of(flow).sent()

    def started(self, flow: Flow, handle: WorkflowHandle[Any, Any]) -> None:
        """A run of it has been started, or was running."""
        run_id = handle.result_run_id or ""
        if run_id not in self.runs:
            flow.is_open = True
            self.runs[run_id] = Run(flow, asyncio.create_task(self._follow(flow, handle)))

    def requested(self, flow: Flow, update: WorkflowUpdateHandle[Any]) -> None:
        """An update of it was accepted."""
        if update.id == CANCEL_UPDATE:
            self.updates.append(update)

    def handle(self, flow: Flow) -> WorkflowHandle[Any, Any]:
        """To talk to a workflow, as somebody who has the command line."""
        return self.slot.temporal.get_workflow_handle(flow.workflow_id)

    async def all_closed(self) -> None:
        """Wait until no workflow of the case is open."""
        while open_runs := [run.result for run in self.runs.values() if not run.result.done()]:
            await asyncio.wait(open_runs)

    async def give_up(self, breach: str, flow: Flow) -> None:
        """End a case that would never end; called from one of its steps, whose report then comes too late."""
        self.breaches.append(breach)
        await self.handle(flow).terminate()
        await time_skipping.release_lock(self.slot.temporal)

    async def _follow(self, flow: Flow, handle: WorkflowHandle[Any, Any]) -> Any:
        try:
            return await handle.result()
        finally:
            self.cancelling_of(flow).arrived()
            self.turns.closed(flow)

    # What happens to it

    async def deliver(self) -> None:
        """Stripe's outstanding events arrive, and the inbox processes what it has."""
        delivered = await background.deliver(self.slot)
        self.last_event_id = delivered[-1] if delivered else self.last_event_id
        if STEP_UNDER_WAY.get() is not None:
            self.was_delivered_inside = True

    async def notify_again(self) -> None:
        """The workflows of refunds and disputes that are open are notified once more."""
        await background.notify_again(self.slot)

    async def signal(self, event_id: str) -> None:
        """Wake the order's workflow once more; a closed one decides nothing."""
        await self.slot.installation.payment.sagas.notify_order(order_id=self.order_id, event_id=event_id)

    async def stray_signal(self) -> None:
        """Wake it for an event that there is not."""
        self._stray += 1
        await self.signal(f"evt_stray_{self._stray}")

    async def cancel_workflow(self, flow: Flow) -> None:
        """Raw cancellation."""
        with suppress(RPCError):  # it is closed
            await self.handle(flow).cancel()

    async def request_cancellation(self) -> None:
        """The customer cancels the order; returns when the server has the update, or the order refuses it."""
        self.cancellation = asyncio.create_task(self._request_cancellation())
        await self._is_known(self.cancellation, f"order-{self.order_id}", CANCEL_UPDATE)

    async def retry(self, flow: Flow) -> None:
        """A person sends `retry`; returns when the server has it. What comes of it may take turns of the workflow's."""
        update_id = f"retry-{len(self._retries)}"
        retrying = asyncio.create_task(self._retry(flow, update_id))
        self._retries.append(retrying)
        await self._is_known(retrying, flow.workflow_id, update_id)

    async def resolve(self, flow: Flow) -> None:
        """A person sends `resolve`; returns when the workflow has accepted it.

        Raises:
            WorkflowUpdateFailedError: the step's work cannot be done by hand.
        """
        await self.handle(flow).start_update(RESOLVE_UPDATE, wait_for_stage=WorkflowUpdateStage.ACCEPTED)

    async def _retry(self, flow: Flow, update_id: str) -> None:
        # it is not parked, or its workflow has closed
        with suppress(WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, RPCError):
            await self.handle(flow).execute_update(RETRY_UPDATE, id=update_id)

    async def _is_known(self, sending: asyncio.Task[None], workflow_id: str, update_id: str) -> None:
        """Wait until the server has an update, or it was answered."""
        while not sending.done() and not await self._knows_update(workflow_id, update_id):  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.002)

    async def _request_cancellation(self) -> None:
        request = order_pb2.CancelOrderRequest(order_id=self.order_id, idempotency_key="cancel", wait_ms=0)
        customer = Caller(CallerRole.CUSTOMER, self.user_id)
        await self.slot.installation.orders.CancelOrder(request, metadata=signed_in(customer).metadata)

    async def _knows_update(self, workflow_id: str, update_id: str) -> bool:
        reference = UpdateRef(workflow_execution=WorkflowExecution(workflow_id=workflow_id), update_id=update_id)
        request = PollWorkflowExecutionUpdateRequest(namespace=self.slot.temporal.namespace, update_ref=reference)
        try:
            await self.slot.temporal.workflow_service.poll_workflow_execution_update(request)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def repeat(self, step: str) -> None:
        """A request of a step that was thought lost arrives; nobody hears the answer."""
        with suppress(ApplicationError):
            await self.slot.installation.repeat(step, self.requests[step])
