"""What Temporal knows of workflows: of many by its list, of one that the list does not clear by asking for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution as WorkflowId
from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCStatusCode

from runtime.temporal import RPC_TIMEOUT, TemporalRefused, ask_temporal
from services.order.attention.model import FailingStep, WorkflowState

RUNS: Final = WorkflowState(status=WorkflowExecutionStatus.RUNNING)
MISSING: Final = WorkflowState(status=None)
_PROBLEMS: Final = SearchAttributeKey.for_keyword_list("TemporalReportedProblems")
"""Set by Temporal while a workflow's tasks fail."""
_AT_ONCE: Final = 8
"""Workflows that are asked for at a time."""
_LAST_EVENTS: Final = 20
"""Of a history, among which the failure of its task is sought."""


class WorkflowReader:
    """Reads what has become of workflows.

    Args:
        client: of the namespace.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, ids: Collection[str], *, closely: Collection[str]) -> Mapping[str, WorkflowState]:
        """What has become of each.

        One that Temporal's list shows running, without a problem, is taken to be well, for the list may be late, but
        not by more than the next look. Any other one is asked for by its id.

        Args:
            ids: of workflows, not more than fit a query: some hundred.
            closely: those of them that are asked for in any case.

        Raises:
            TemporalAway: repeat.
        """
        well = await self._find_well(ids) - set(closely)
        others = [each for each in ids if each not in well]
        states = await asyncio.gather(*map(self.read_one, others))
        return {**dict.fromkeys(well, RUNS), **dict(zip(others, states, strict=True))}

    async def read_one(self, workflow_id: str) -> WorkflowState:
        """What has become of one workflow.

        Raises:
            TemporalAway: repeat.
        """
        workflow = self._client.get_workflow_handle(workflow_id)
        async with self._turns:
            try:
                return await self._to_state(await ask_temporal(lambda: workflow.describe(rpc_timeout=RPC_TIMEOUT)))
            except TemporalRefused as refused:
                if refused.status is RPCStatusCode.NOT_FOUND:
                    return MISSING
                raise

    async def _find_well(self, ids: Iterable[str]) -> set[str]:
        names = ", ".join(f"'{each}'" for each in ids)
        if not names:
            return set()
        pages = self._client.list_workflows(
            f"WorkflowId IN ({names}) AND ExecutionStatus = 'Running'", rpc_timeout=RPC_TIMEOUT
        )
        well: set[str] = set()
        while pages.current_page is None or pages.next_page_token:
            await ask_temporal(pages.fetch_next_page)
            page = pages.current_page or ()
            well |= {workflow.id for workflow in page if workflow.typed_search_attributes.get(_PROBLEMS) is None}
        return well

    async def _to_state(self, found: WorkflowExecutionDescription) -> WorkflowState:
        raw = found.raw_description
        failing = {
            pending.activity_type.name: FailingStep(pending.attempt, await self._in_words(pending.last_failure))
            for pending in raw.pending_activities
            if pending.HasField("last_failure")
        }
        task = raw.pending_workflow_task
        attempts = task.attempt if raw.HasField("pending_workflow_task") else 0
        waits = attempts > 0 and task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
        return WorkflowState(
            status=found.status,
            ending=await self._find_ending(found),
            failing=failing,
            is_trying=bool(raw.pending_activities),
            task_attempts=attempts,
            task_error=await self._find_task_error(found) if attempts > 1 else None,
            task_waits_since=task.original_scheduled_time.ToDatetime(UTC) if waits else None,
        )

    async def _find_ending(self, found: WorkflowExecutionDescription) -> str | None:
        """Who ended the workflow's last run, and why; None where its status says all."""
        if found.status not in (WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.FAILED):
            return None
        last, *_ = await self._read_last_events(found, most=1)
        if found.status is WorkflowExecutionStatus.FAILED:
            return f"failed: {await self._in_words(last.workflow_execution_failed_event_attributes.failure)}"
        terminated = last.workflow_execution_terminated_event_attributes
        by = f"terminated by {terminated.identity or 'somebody without a name'}"
        return f"{by}: {terminated.reason}" if terminated.reason else by

    async def _find_task_error(self, found: WorkflowExecutionDescription) -> str | None:
        """Why the workflow's last task failed, as its history has it; None where it only was not taken up in time."""
        for event in await self._read_last_events(found, most=_LAST_EVENTS):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                failure = event.workflow_task_failed_event_attributes.failure
                kind, words = failure.application_failure_info.type, await self._in_words(failure)
                return f"{kind}: {words}" if kind else words
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                return None
        return None

    async def _read_last_events(self, found: WorkflowExecutionDescription, *, most: int) -> Sequence[HistoryEvent]:
        """The last events of its history, the very last one first."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._client.namespace,
            execution=WorkflowId(workflow_id=found.id, run_id=found.run_id),
            maximum_page_size=most,
        )
        service = self._client.workflow_service
        answer = await ask_temporal(
            lambda: service.get_workflow_execution_history_reverse(request, timeout=RPC_TIMEOUT)
        )
        return answer.history.events

    async def _in_words(self, failure: Failure) -> str:
        """What it says, decrypted where failures are encrypted."""
        error = await self._client.data_converter.decode_failure(failure)
        return getattr(error, "message", None) or str(error) or type(error).__name__
