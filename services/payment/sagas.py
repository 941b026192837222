"""The workflows that the payment service starts and notifies: a signal says that something changed, our state what."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCStatusCode

from domain.saga import (
    DISPUTE_CASE,
    DISPUTE_CHANGED_SIGNAL,
    PAYMENT_CHANGED_SIGNAL,
    REFUND_CHANGED_SIGNAL,
    REFUND_SAGA,
    DisputeInput,
    RefundInput,
    dispute_workflow_id,
    order_workflow_id,
    refund_workflow_id,
)
from runtime.refusal import Unavailable
from runtime.temporal import RPC_TIMEOUT, TemporalRefused, ask_temporal


class Orders(Protocol):
    """The order service, which knows whether an order has to have a saga."""

    async def report_missing_saga(self, order_id: str) -> bool:
        """Report that an order's saga was to be notified and is not there; whether the order is open, and needs it.

        Raises:
            Unavailable: it is not known; repeat.
        """


class SagaMissing(Unavailable):
    """An order is open, and nothing decides about it; somebody has been called. Its event waits until it has a saga."""

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"order {order_id} is open, and its workflow is gone; ordersaga repair {order_id} starts it again"
        )


class Sagas(Protocol):
    """What runs because of a payment. Every method may be repeated, and raises for that what `ask_temporal` does."""

    async def notify_order(self, *, order_id: str, event_id: str) -> None:
        """Notify the order's saga that its payment may have changed; of an order that is closed none runs.

        Raises:
            SagaMissing: none runs, and the order is open.
        """

    async def ensure_refund_saga(self, *, refund_id: str, order_id: str, changed: bool) -> None:
        """Make sure that the refund's saga runs; notify it, too, if the refund has changed."""

    async def ensure_dispute_case(self, *, dispute_id: str, order_id: str, changed: bool) -> None:
        """Make sure that the dispute's case runs; notify it, too, if the dispute has changed."""


class TemporalSagas:
    """`Sagas` through Temporal.

    Args:
        client: of the namespace.
        task_queue: where the order worker listens.
        attention_after: seconds after which a step that keeps failing raises attention.
        orders: is asked about an order whose saga is not there.
    """

    def __init__(self, client: Client, *, task_queue: str, attention_after: float, orders: Orders) -> None:
        self._client = client
        self._task_queue = task_queue
        self._attention_after = attention_after
        self._orders = orders

    async def notify_order(self, *, order_id: str, event_id: str) -> None:
        workflow = self._client.get_workflow_handle(order_workflow_id(order_id))
        try:
            await ask_temporal(lambda: workflow.signal(PAYMENT_CHANGED_SIGNAL, event_id, rpc_timeout=RPC_TIMEOUT))
        except TemporalRefused as refused:
            if refused.status is not RPCStatusCode.NOT_FOUND:
                raise
            if await self._orders.report_missing_saga(order_id):
                raise SagaMissing(order_id) from None

    async def ensure_refund_saga(self, *, refund_id: str, order_id: str, changed: bool) -> None:
        await self._ensure(
            REFUND_SAGA,
            RefundInput(refund_id=refund_id, order_id=order_id, attention_after_seconds=self._attention_after),
            workflow_id=refund_workflow_id(refund_id),
            signal=REFUND_CHANGED_SIGNAL if changed else None,
            summary=f"gives money of order {order_id} back",
        )

    async def ensure_dispute_case(self, *, dispute_id: str, order_id: str, changed: bool) -> None:
        await self._ensure(
            DISPUTE_CASE,
            DisputeInput(dispute_id=dispute_id, order_id=order_id, attention_after_seconds=self._attention_after),
            workflow_id=dispute_workflow_id(dispute_id),
            signal=DISPUTE_CHANGED_SIGNAL if changed else None,
            summary=f"the customer of order {order_id} disputes the payment with their bank",
        )

    async def _ensure(
        self, workflow: str, argument: object, *, workflow_id: str, signal: str | None, summary: str
    ) -> None:
        """Start it, also when an earlier run has closed; one that runs gets the signal alone."""

        async def start() -> None:
            with suppress(WorkflowAlreadyStartedError):  # without a signal, one that runs is all that is wanted
                await self._client.start_workflow(
                    workflow,
                    argument,
                    id=workflow_id,
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.UNSPECIFIED
                    if signal is not None
                    else WorkflowIDConflictPolicy.FAIL,
                    start_signal=signal,
                    static_summary=summary,
                    rpc_timeout=RPC_TIMEOUT,
                )

        await ask_temporal(start)
