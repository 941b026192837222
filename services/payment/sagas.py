"""The workflows that the payment service starts and wakes: a signal says that something changed, our state what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

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

_PATIENCE: Final = timedelta(seconds=2)


class SignalUndelivered(Unavailable):
    """Temporal may not know; repeat it."""


class Sagas(Protocol):
    """What runs because of a payment. Every method may be repeated, and raises `SignalUndelivered` for that."""

    async def payment_changed(self, *, order_id: str, event_id: str) -> None:
        """Wake the order's saga; one that does not run decides nothing."""

    async def follow_refund(self, *, refund_id: str, order_id: str, has_news: bool) -> None:
        """Make sure that the refund's saga runs; with `has_news`, wake it too."""

    async def follow_dispute(self, *, dispute_id: str, order_id: str, has_news: bool) -> None:
        """Make sure that the dispute's case runs; with `has_news`, wake it too."""


class TemporalSagas:
    """`Sagas` through Temporal.

    Args:
        client: of the namespace.
        task_queue: where the order worker listens.
        attention_after: seconds after which a step that does not get through raises attention.
    """

    def __init__(self, client: Client, *, task_queue: str, attention_after: float) -> None:
        self._client = client
        self._task_queue = task_queue
        self._attention_after = attention_after

    async def payment_changed(self, *, order_id: str, event_id: str) -> None:
        workflow = self._client.get_workflow_handle(order_workflow_id(order_id))

        async def signal() -> None:
            try:
                await workflow.signal(PAYMENT_CHANGED_SIGNAL, event_id, rpc_timeout=_PATIENCE)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise

        await _ask(signal)

    async def follow_refund(self, *, refund_id: str, order_id: str, has_news: bool) -> None:
        refund = RefundInput(refund_id=refund_id, order_id=order_id, attention_after_seconds=self._attention_after)
        await self._follow(
            REFUND_SAGA,
            refund,
            workflow_id=refund_workflow_id(refund_id),
            signal=REFUND_CHANGED_SIGNAL if has_news else None,
            summary=f"gives money of order {order_id} back",
        )

    async def follow_dispute(self, *, dispute_id: str, order_id: str, has_news: bool) -> None:
        dispute = DisputeInput(dispute_id=dispute_id, order_id=order_id, attention_after_seconds=self._attention_after)
        await self._follow(
            DISPUTE_CASE,
            dispute,
            workflow_id=dispute_workflow_id(dispute_id),
            signal=DISPUTE_CHANGED_SIGNAL if has_news else None,
            summary=f"the customer of order {order_id} disputes the payment with their bank",
        )

    async def _follow(
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
                    rpc_timeout=_PATIENCE,
                )

        await _ask(start)


async def _ask(call: Callable[[], Awaitable[None]]) -> None:
    """Call Temporal.

    Raises:
        SignalUndelivered: what came of it is not known.
    """
    try:
        # The limit of the call does not limit how long a lazy client connects.
        async with asyncio.timeout(_PATIENCE.total_seconds() + 1):
            await call()
    except RPCError as error:
        raise SignalUndelivered(f"Temporal: {error.status.name}: {error.message}") from None
    except (RuntimeError, TimeoutError) as error:
        # RuntimeError is how the SDK says that a lazy client could not connect.
        raise SignalUndelivered(f"Temporal: {error or 'no answer'}") from None
