"""The services' calls of Temporal, seen by the case that they belong to.

The services of an installation start and wake workflows as in production. Here each call is counted, so that turns can
wait for what it brings (`turns`), loses its limit of time, and fails while Temporal is to be away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Protocol

from temporalio.client import (
    CancelWorkflowInput,
    Client,
    Interceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from tests.saga.simulator.turns import Flow

TASK_TIMEOUT: Final = timedelta(minutes=2)
"""A workflow task that is lost is reported at once; nothing waits for this."""


class Workflows(Protocol):
    """The workflows of the case under way."""

    def flow_of(self, workflow_id: str) -> Flow:
        """The workflow of this id, a new one if there is none yet."""

    def expect(self, flow: Flow, change: int = 1) -> None:
        """So much more, or less, is on its way to the workflow."""

    def started(self, flow: Flow, handle: WorkflowHandle[Any, Any]) -> None:
        """A run of it has been started, or was running."""

    def requested(self, flow: Flow, update: WorkflowUpdateHandle[Any]) -> None:
        """An update of it was accepted."""

    def cancelling(self, flow: Flow) -> None:
        """A request to cancel what it is about is on its way to it."""


class TemporalCalls(Interceptor):
    """Counts the calls of one installation for the case that it has at the time."""

    def __init__(self) -> None:
        self.workflows: Workflows | None = None
        """Of the case under way."""
        self.is_away = False
        """Whether Temporal does not answer."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002  # the SDK's name
        return _Counting(next, self)

    def client(self, of: Client) -> Client:
        """A client that is counted."""
        # Not the environment's own, which locks and unlocks the clock around each result that it waits for.
        return Client(of.service_client, namespace=of.namespace, interceptors=[self])


class _Counting(OutboundInterceptor):
    def __init__(self, following: OutboundInterceptor, calls: TemporalCalls) -> None:
        super().__init__(following)
        self._calls = calls

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.task_timeout = TASK_TIMEOUT
        async with self._expected(input, input.id) as (workflows, flow):
            flow.starts_with_signal = input.start_signal is not None
            flow.signals += flow.starts_with_signal
            handle = await super().start_workflow(input)
            workflows.started(flow, handle)
            return handle

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002
        async with self._expected(input, input.id) as (_, flow):
            flow.signals += 1
            await super().signal_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:  # noqa: A002
        async with self._expected(input, input.id) as (workflows, flow):
            workflows.cancelling(flow)
            await super().cancel_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:  # noqa: A002
        async with self._expected(input, input.id) as (workflows, flow):
            if input.update == "cancel":
                workflows.cancelling(flow)
            update = await super().start_workflow_update(input)
            workflows.requested(flow, update)
            return update

    @asynccontextmanager
    async def _expected(self, call: Any, workflow_id: str) -> AsyncIterator[tuple[Workflows, Flow]]:
        workflows = self._calls.workflows
        if workflows is None or self._calls.is_away:
            raise RPCError("as scheduled", RPCStatusCode.UNAVAILABLE, b"")
        call.rpc_timeout = None
        flow = workflows.flow_of(workflow_id)
        workflows.expect(flow)
        try:
            yield workflows, flow
        except BaseException:
            workflows.expect(flow, -1)  # it is closed, or runs already
            raise
