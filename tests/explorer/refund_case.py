"""One case: an order with refunds in a shop of its own, the schedule that it runs under, and what was seen of it.

What the payment service does besides its steps the case does for the doubles: whenever a row has news, it starts or
wakes the row's workflow, and in the end a sweep brings what was lost on its way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from domain.saga import (
    DISPUTE_CASE,
    DISPUTE_CHANGED_SIGNAL,
    REFUND_CHANGED_SIGNAL,
    REFUND_SAGA,
    DisputeInput,
    RefundInput,
)
from tests.doubles.payments import DisputeRow, Payment, RefundRow
from tests.doubles.shop import DoubledShop
from tests.doubles.stripe import Intent, Refund
from tests.explorer import refund_events
from tests.explorer.refund_gate import Flow, Gate
from tests.explorer.refund_shapes import ORDER
from tests.explorer.schedule import Arrival, Fault, Schedule, numbered

TASK_QUEUE: Final = "refund-explorer"
ATTENTION_AFTER: Final = 60.0
MOST_CALLS: Final = 160
"""More steps than any refund needs: a case with more of them would go on for ever."""


def case_key(workflow_id: str) -> str:
    """The case of a workflow."""
    return workflow_id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Seen:
    """A point that the run came to, with the events that were possible there; or a call, with its possible faults."""

    place: str
    events: Sequence[str] = ()
    faults: Sequence[str] = ()


@dataclass(slots=True)
class Case:
    """An order's refunds under a schedule."""

    key: str
    schedule: Schedule
    client: Client
    shop: DoubledShop
    gate: Gate = field(default_factory=Gate)
    trace: list[str] = field(default_factory=list)
    """What took effect and what arrived, in its order."""
    seen: list[Seen] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    """How often each step of each workflow was called."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often the run came to each point."""
    happened: Counter[str] = field(default_factory=Counter)
    away: Counter[str] = field(default_factory=Counter)
    """How many more calls of a step fail."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often a workflow asked for a person's verdict on a step."""
    looks: Counter[str] = field(default_factory=Counter)
    """How often each refund and dispute that Stripe is not done with was looked at."""
    flips: Counter[str] = field(default_factory=Counter)
    """By Stripe's refund id: how often its money came to be given back, or no longer to be."""
    done_by_hand: set[str] = field(default_factory=set)
    """Steps of workflows that a person resolved."""
    verdict: str = ""
    """What the person at the parked step was scheduled to say."""
    requested_pieces: int = 0
    answer_of_stripe_is_lost: bool = False
    is_inside: bool = False
    """Whether the payment service is in the middle of a step: it works at one payment's calls one by one."""
    is_owed_events: bool = False
    runs: dict[str, tuple[Flow, asyncio.Task[Any]]] = field(default_factory=dict)
    """By run id: what waits for how that run ends."""

    @property
    def payment(self) -> Payment:
        """The order's payment."""
        return self.shop.payments.payments[ORDER]

    @property
    def intent(self) -> Intent:
        """The order's intent at Stripe."""
        [intent] = self.shop.stripe.intents.values()
        return intent

    @property
    def rows(self) -> list[RefundRow | DisputeRow]:
        """Everything that has a workflow."""
        return [*self.payment.refunds.values(), *self.payment.disputes.values()]

    @property
    def fingerprint(self) -> str:
        """The same for the same trace."""
        return hashlib.sha256("\n".join([self.schedule.shape, *self.trace]).encode()).hexdigest()

    async def arrive(self, flow: Flow | None, point: str) -> None:
        """The run comes to a point: what is to happen there happens."""
        self.counts[point] += 1
        label = numbered(point, self.counts[point])
        self.seen.append(Seen(label, events=refund_events.possible(self, point)))
        for move in self.schedule.moves:
            if isinstance(move, Arrival) and move.point == label:
                self.trace.append(f"@{move.event}")
                self.happened[refund_events.base(move.event)] += 1
                await refund_events.happen(self, flow, move.event)

    def called(self, name: str, faults: Sequence[str]) -> str | None:
        """A step is called: how this call goes wrong, if it does."""
        self.calls[name] += 1
        call = numbered(name, self.calls[name])
        self.seen.append(Seen(call, faults=faults))
        kinds = [move.kind for move in self.schedule.moves if isinstance(move, Fault) and move.call == call]
        return kinds[0] if kinds else None

    async def meanwhile(self, step: str) -> None:
        """The payment service is between its look at Stripe and what follows."""
        if self.is_inside:
            flow = self.gate.flows[activity.info().workflow_id or ""]
            await self.arrive(flow, f"{flow.name}.{step}.inside")

    async def deliver(self) -> None:
        """Stripe's events arrive; the payment service, busy with this payment, takes them when it is done."""
        self.is_owed_events = self.is_inside
        if not self.is_inside:
            self.shop.take_events()
            await self.follow()

    async def follow(self) -> bool:
        """Start or wake the workflow of everything that has news; whether anything had."""
        news = self.shop.payments.take_news()
        for row in news:
            await self._start(row)
        return bool(news)

    async def wake_again(self) -> None:
        """What is open is woken once more, as when the note that it was woken got lost."""
        for row in self.rows:
            row.woken_version = 0
        await self.follow()

    async def cancel(self, flow: Flow) -> None:
        """Raw cancellation of a workflow."""
        flow.coming += 1
        try:
            await self.client.get_workflow_handle(flow.workflow_id).cancel()
        except RPCError as error:
            flow.coming -= 1
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def flow_of(self, row: RefundRow | DisputeRow) -> Flow:
        """The workflow of a refund or dispute."""
        kind = "r" if isinstance(row, RefundRow) else "d"
        known = list(self.payment.refunds if isinstance(row, RefundRow) else self.payment.disputes)
        return self.gate.add(f"{kind}{known.index(row.id) + 1}", f"{self.key}/{row.id}")

    def made_for(self, refund_id: str) -> list[Refund]:
        """Stripe's refunds for one of ours."""
        return [made for made in self.intent.refunds if made.refund_id == refund_id]

    async def _start(self, row: RefundRow | DisputeRow) -> None:
        flow = self.flow_of(row)
        flow.coming += 1
        kind, signal, argument = _input(row)
        handle = await self.client.start_workflow(
            kind,
            argument,
            id=flow.workflow_id,
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=signal,
            task_timeout=refund_events.TASK_TIMEOUT,
        )
        run_id = handle.result_run_id or ""
        if run_id not in self.runs:
            self.runs[run_id] = flow, asyncio.create_task(handle.result())


def _input(row: RefundRow | DisputeRow) -> tuple[str, str, RefundInput | DisputeInput]:
    if isinstance(row, RefundRow):
        refund = RefundInput(refund_id=row.id, order_id=ORDER, attention_after_seconds=ATTENTION_AFTER)
        return REFUND_SAGA, REFUND_CHANGED_SIGNAL, refund
    dispute = DisputeInput(dispute_id=row.id, order_id=ORDER, attention_after_seconds=ATTENTION_AFTER)
    return DISPUTE_CASE, DISPUTE_CHANGED_SIGNAL, dispute
