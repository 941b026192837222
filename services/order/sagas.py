"""The sagas of orders, on Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCStatusCode

from domain.orders import CancelledBy, OrderStatus
from domain.saga import (
    CANCEL_UPDATE,
    CUSTOMER_ID_ATTRIBUTE,
    ORDER_SAGA,
    ORDER_STATUS_ATTRIBUTE,
    CancelRequest,
    OrderInput,
    order_workflow_id,
)
from domain.stuck_steps import RESOLVE_UPDATE, RETRY_UPDATE, Decision, StepAnswer, StepOutcome
from runtime.task_queue import count_waiting_workflows
from runtime.temporal import RPC_TIMEOUT, TemporalRefused, ask_temporal
from services.order.errors import NothingToDecide

_PAUSES: Final = (0, 0.05, 0.2)
"""Between the attempts at a request that was lost with its workflow task, seconds."""
_DECISION_TIMEOUT: Final = timedelta(seconds=8)
"""Limit of a call that waits for what comes of a decision."""


_SUCCESSES: Final = frozenset({StepOutcome.DONE, StepOutcome.RESOLVED})
_OUTCOMES: Final[Mapping[StepOutcome, str]] = {
    StepOutcome.DONE: "got through",
    StepOutcome.RESOLVED: "is done by hand: the workflow goes on",
    StepOutcome.REFUSED: "was refused again",
    StepOutcome.FAILED: "failed again, and is tried again by itself",
    StepOutcome.STOPPED: "was ended by a request to cancel the order",
    StepOutcome.UNKNOWN: "runs again; its workflow is of a version that does not say what came of it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an operator's decision, in words."""

    text: str
    succeeded: bool


class Sagas(Protocol):
    """The sagas of orders, one each. Every method may be repeated.

    Each raises `runtime.refusal.Unavailable` where it is not known whether it took effect: `OtherSideAway` while no
    saga can be reached, and else where this one cannot.
    """

    async def start(self, order: OrderInput) -> None:
        """Start it, unless it was started before."""

    async def restart(self, order: OrderInput, *, is_open: bool) -> bool:
        """Start it again after its workflow was ended from outside; false when it runs, or there is nothing to do.

        One that ended by itself is started again only if its order `is_open` all the same.
        """

    async def count_waiting(self) -> int:
        """How many wait for a worker, about, as it was some seconds ago."""

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        """Ask it to cancel the order; returns once it has the request, which it may turn down by ending otherwise."""

    async def retry(self, workflow_id: str, *, actor: str, note: str) -> Outcome:
        """Let a step of a workflow that fails, or waits for a decision, run again at once; what came of it.

        Raises `NothingToDecide` where no step does.
        """

    async def resolve(self, workflow_id: str, *, actor: str, note: str) -> Outcome:
        """Let a workflow go on without the step that waits for a decision: a person did its work.

        Raises `NothingToDecide` where no step waits, or not for this.
        """


class TemporalSagas:
    """`OrderSaga` on Temporal; see `Sagas`."""

    def __init__(self, client: Client, *, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, order: OrderInput) -> None:
        """One workflow id per order and no reuse make a second start harmless."""
        await self._start(order, WorkflowIDReusePolicy.REJECT_DUPLICATE)

    async def restart(self, order: OrderInput, *, is_open: bool) -> bool:
        """The id is used again where its last run is not known, failed, timed out, was terminated or cancelled."""
        reuse = WorkflowIDReusePolicy
        return await self._start(order, reuse.ALLOW_DUPLICATE if is_open else reuse.ALLOW_DUPLICATE_FAILED_ONLY)

    async def _start(self, order: OrderInput, reuse: WorkflowIDReusePolicy) -> bool:
        try:
            await ask_temporal(
                lambda: self._client.start_workflow(
                    ORDER_SAGA,
                    order,
                    id=order_workflow_id(order.order_id),
                    task_queue=self._task_queue,
                    id_reuse_policy=reuse,
                    search_attributes=_first_attributes(order),
                    static_summary=_summary(order),
                    rpc_timeout=RPC_TIMEOUT,
                )
            )
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def count_waiting(self) -> int:
        """Those that have not begun, above all: others wait in the cache of the worker that has them."""
        return await count_waiting_workflows(self._client, self._task_queue)

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        """One update id per order makes a repeat harmless.

        A request is lost with the workflow task that it came in, which Temporal fails when an event of the payment
        arrives before the task could close the workflow. It says so, and takes the request for the next task.
        """
        for pause in _PAUSES:
            try:
                await self._request_cancellation(order_id, cancelled_by)
            except TemporalRefused as refused:
                if refused.status is not RPCStatusCode.FAILED_PRECONDITION:
                    raise
                await asyncio.sleep(pause)
            else:
                return
        await self._request_cancellation(order_id, cancelled_by)

    async def _request_cancellation(self, order_id: str, cancelled_by: CancelledBy) -> None:
        workflow = self._client.get_workflow_handle(order_workflow_id(order_id))
        await ask_temporal(
            lambda: workflow.start_update(
                CANCEL_UPDATE,
                CancelRequest(cancelled_by=cancelled_by),
                id=CANCEL_UPDATE,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                rpc_timeout=RPC_TIMEOUT,
            )
        )

    async def retry(self, workflow_id: str, *, actor: str, note: str) -> Outcome:
        """The update `retry`."""
        return await self._decide(workflow_id, RETRY_UPDATE, Decision(actor=actor, note=note))

    async def resolve(self, workflow_id: str, *, actor: str, note: str) -> Outcome:
        """The update `resolve`."""
        return await self._decide(workflow_id, RESOLVE_UPDATE, Decision(actor=actor, note=note))

    async def _decide(self, workflow_id: str, update: str, decision: Decision) -> Outcome:
        workflow = self._client.get_workflow_handle(workflow_id)
        try:
            answer = await ask_temporal(
                lambda: workflow.execute_update(
                    update, decision, result_type=StepAnswer, rpc_timeout=_DECISION_TIMEOUT
                ),
                within=_DECISION_TIMEOUT,
            )
        except WorkflowUpdateFailedError as failed:
            raise NothingToDecide(workflow_id, getattr(failed.cause, "message", str(failed.cause))) from None
        except TemporalRefused as refused:
            if refused.status is RPCStatusCode.NOT_FOUND:
                raise NothingToDecide(workflow_id, "no workflow of this id runs: it has ended, or is gone") from None
            raise
        return Outcome(text=_in_words(answer), succeeded=answer.outcome in _SUCCESSES)


def _in_words(answer: StepAnswer) -> str:
    why = ": ".join(part for part in (answer.refusal, answer.message) if part)
    return f"{answer.step} {_OUTCOMES[answer.outcome]}{f': {why}' if why else ''}"


def _first_attributes(order: OrderInput) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(SearchAttributeKey.for_keyword(ORDER_STATUS_ATTRIBUTE), OrderStatus.RECEIVED.value),
            SearchAttributePair(SearchAttributeKey.for_keyword(CUSTOMER_ID_ATTRIBUTE), order.user_id),
        ]
    )


def _summary(order: OrderInput) -> str:
    units = sum(line.quantity for line in order.lines)
    return f"units: {units}, products: {len(order.lines)}, currency: {order.currency}"
