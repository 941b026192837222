"""Open orders, refunds and disputes, with the workflows that have to move them: what of them needs a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

from domain.concerns import UNMOVED_STEP, WORKFLOW_STEP, ConcernKind
from domain.saga import dispute_workflow_id, order_workflow_id, refund_workflow_id
from ordersaga.payment.v1 import payment_pb2 as payment_pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from runtime.caller import SERVICE
from runtime.clock import Clock
from runtime.on_call import Concern
from runtime.rpc_client import call
from runtime.temporal import TemporalAway
from services.order.attention.diagnosis import (
    by_subject,
    diagnose_blindly,
    diagnose_order,
    diagnose_workflow,
    is_late,
)
from services.order.attention.model import WATCHER, OpenConcern, OpenOrder, WorkflowState
from services.order.attention.service import AttentionService
from services.order.attention.workflows import WorkflowReader

BATCH: Final = 100
"""Orders, refunds or disputes that are looked at together: one query of Temporal's list."""
_DEADLINE: Final = 5.0
"""Of a call to another service, seconds."""
_CASES: Final = {
    ConcernKind.REFUND: (payment_pb.OPEN_CASE_KIND_REFUND, refund_workflow_id),
    ConcernKind.DISPUTE: (payment_pb.OPEN_CASE_KIND_DISPUTE, dispute_workflow_id),
}


class Look(Protocol):
    """Looks at what may need a person, a batch at a time, and keeps the list of concerns."""

    async def look(self, after: str | None) -> str | None:
        """Look at the batch behind `after`; behind what the next one begins, None when this was the last.

        Raises:
            Unavailable: who has to be asked does not answer; repeat.
        """


class OpenOrders:
    """Every order that is open.

    Args:
        attention: the list of concerns, and the orders.
        workflows: reads their sagas.
        is_processing: whether a bank is processing the order's payment, which may take days.
        repair: starts a lost saga again; None leaves that to a person.
        patience: how long an order may stand where it is without a reason.
        clock: what "since" is said by.
    """

    def __init__(
        self,
        attention: AttentionService,
        workflows: WorkflowReader,
        *,
        is_processing: Callable[[str], Awaitable[bool]],
        repair: Callable[[str], Awaitable[object]] | None,
        patience: timedelta,
        clock: Clock,
    ) -> None:
        self._attention = attention
        self._workflows = workflows
        self._is_processing = is_processing
        self._repair = repair
        self._patience = patience
        self._clock = clock

    async def look(self, after: str | None) -> str | None:
        """See `Look`. While Temporal is away, what stands for too long is found all the same."""
        orders = await self._attention.find_open_orders(after=after, limit=BATCH)
        ids = [order.id for order in orders]
        known = by_subject(await self._attention.find_of_subjects(ConcernKind.ORDER, ids))
        late = {order.id for order in orders if is_late(order, self._patience)}
        concerns: list[Concern] = []
        try:
            states = await self._read(orders, closely=late | known.keys())
        except TemporalAway as away:
            for order in orders:
                concerns += diagnose_blindly(order, str(away), patience=self._patience, at=self._clock())
        else:
            for order in orders:
                concerns += await self._diagnose(order, states[order.id], known=known.get(order.id, ()))
        await self._attention.reconcile(concerns, raised_by=WATCHER, kinds=[ConcernKind.ORDER], subjects=ids)
        if len(orders) == BATCH:
            return ids[-1]
        await self._attention.clear_closed_orders()
        return None

    async def _read(self, orders: Sequence[OpenOrder], *, closely: Collection[str]) -> Mapping[str, WorkflowState]:
        names = {order_workflow_id(order.id): order.id for order in orders}
        states = await self._workflows.read(names, closely=[name for name in names if names[name] in closely])
        return {names[name]: state for name, state in states.items()}

    async def _diagnose(
        self, order: OpenOrder, state: WorkflowState, *, known: Collection[OpenConcern]
    ) -> list[Concern]:
        concerns = diagnose_order(order, state, known=known, patience=self._patience, at=self._clock())
        is_lost = any(concern.step == WORKFLOW_STEP for concern in concerns)
        if is_lost and self._repair is not None:
            await self._repair(order.id)
            return []
        if [concern.step for concern in concerns] == [UNMOVED_STEP] and await self._is_processing(order.id):
            return []
        return concerns


class OpenCases:
    """Every refund, or every dispute, from which something still follows: the payment service says which those are.

    Args:
        kind: refunds or disputes.
        payments: lists them.
        workflows: reads their workflows.
        attention: the list of concerns.
        clock: what "since" is said by.
    """

    def __init__(
        self,
        kind: ConcernKind,
        payments: PaymentServiceStub,
        workflows: WorkflowReader,
        attention: AttentionService,
        *,
        clock: Clock,
    ) -> None:
        self._kind = kind
        self._payments = payments
        self._workflows = workflows
        self._attention = attention
        self._clock = clock

    async def look(self, after: str | None) -> str | None:
        """See `Look`."""
        wire, workflow_id = _CASES[self._kind]
        request = payment_pb.ListOpenCasesRequest(kind=wire, after=after or "", most=BATCH)
        answer = await call(self._payments.ListOpenCases, request, caller=SERVICE, deadline=_DEADLINE)
        names = {workflow_id(case.id): case.id for case in answer.cases}
        ids = list(names.values())
        known = by_subject(await self._attention.find_of_subjects(self._kind, ids))
        states = await self._workflows.read(names, closely=[name for name in names if names[name] in known])
        concerns: list[Concern] = []
        for case in answer.cases:
            concerns += diagnose_workflow(
                self._kind,
                case.id,
                order_id=case.order_id,
                state=states[workflow_id(case.id)],
                known=known.get(case.id, ()),
                at=self._clock(),
            )
        is_last = len(answer.cases) < BATCH
        # where there is but one batch, what is not open any more is cleared with it
        subjects = None if is_last and after is None else ids
        await self._attention.reconcile(concerns, raised_by=WATCHER, kinds=[self._kind], subjects=subjects)
        return None if is_last else ids[-1]
