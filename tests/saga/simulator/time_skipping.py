"""The time-skipping server: its clock, and what it does not do by itself.

**Its clock.** It counts a lock for each task and each activity under way, skips time only while there is none, and
takes one off for each report of their end. The report of an activity whose workflow has closed meanwhile it refuses,
and keeps the lock: time would stand still for every workflow, for good. So whoever knows of such a lock releases it.
One too many is as bad as one too few, because the server breaks at the report of the task that it belonged to.

**Lost workflow tasks.** The SDK reports that a workflow task failed only if it was the first attempt. A task that was
scheduled while the one before it was under way is a second attempt to this server, though it was never tried before.
It would wait for the task's timeout; whoever lost the task reports it in the SDK's place.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, RespondWorkflowTaskFailedRequest
from temporalio.client import Client
from temporalio.service import RPCError


async def start(client: Client) -> None:
    """Let time be skipped: a new server's clock is locked once."""
    await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())


async def release_lock(client: Client) -> None:
    """Take a lock off that nobody will take off any more."""
    with suppress(RPCError):  # there is none, or the server answers nobody any more
        await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest(), timeout=timedelta(seconds=10))


async def is_first_attempt(client: Client, *, workflow_id: str, run_id: str) -> bool:
    """Whether the server calls the workflow task that is under way a first attempt."""
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    request = GetWorkflowExecutionHistoryRequest(namespace=client.namespace, execution=execution)
    events = (await client.workflow_service.get_workflow_execution_history(request)).history.events
    tasks = [event for event in events if event.HasField("workflow_task_scheduled_event_attributes")]
    return tasks[-1].workflow_task_scheduled_event_attributes.attempt <= 1


async def report_lost_task(client: Client, *, workflow_id: str, run_id: str) -> None:
    """Say that the workflow task under way has failed."""
    parts = [part.encode() for part in (client.namespace, workflow_id, run_id)]
    # As the server writes it (io.temporal.internal.testservice.WorkflowTaskToken); of the history's size it takes none.
    token = b"".join(len(part).to_bytes(2, "big") + part for part in parts) + bytes(4)
    request = RespondWorkflowTaskFailedRequest(namespace=client.namespace, task_token=token)
    await client.workflow_service.respond_workflow_task_failed(request)
