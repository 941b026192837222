"""A worker in sight of its cases: counts what comes to workflows and what they ask for, and loses a task when it dies.

The SDK's worker polls its core for workflow activations and completes them. Between the two the case is told, and what
happens where a workflow waits happens: within the task, so that it arrives with the next one, whatever the server is
at.

A workflow task is lost as in `tests/saga/test_lost_tasks.py`: its outcome is replaced by a failure, so that nothing of
it is in the history, the local steps included, and the next attempt starts with an empty cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Client
from temporalio.worker import Worker

from domain.saga import CANCEL_UPDATE
from tests.saga.simulator import time_skipping
from tests.saga.simulator.case import Case
from tests.saga.simulator.turns import Flow

ARRIVALS: Final = frozenset(
    {"initialize_workflow", "signal_workflow", "cancel_workflow", "do_update", "resolve_activity"}
)
STEPS: Final = frozenset({"schedule_activity", "schedule_local_activity"})
ENDS: Final = frozenset({"complete_workflow_execution", "fail_workflow_execution", "cancel_workflow_execution"})


def watch(worker: Worker, client: Client, cases: Mapping[str, Case]) -> None:
    """Watch what the worker does from its start on.

    Args:
        worker: not started yet.
        client: of its server.
        cases: those under way, by the ids of their workflows.
    """
    core: Any = worker._bridge_worker  # the one place to see and lose a task
    worker._bridge_worker = _WatchedCore(core, client, cases)  # type: ignore[assignment]  # as much of it as is called


class _WatchedCore:
    def __init__(self, core: Any, client: Client, cases: Mapping[str, Case]) -> None:
        self._core = core
        self._client = client
        self._cases = cases
        self._workflow_ids: dict[str, str] = {}
        self._activations: dict[str, WorkflowActivation] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    async def poll_workflow_activation(self) -> WorkflowActivation:
        act: WorkflowActivation = await self._core.poll_workflow_activation()
        for job in act.jobs:
            if job.HasField("initialize_workflow"):
                self._workflow_ids[act.run_id] = job.initialize_workflow.workflow_id
        self._activations[act.run_id] = act
        return act

    async def complete_workflow_activation(self, completion: WorkflowActivationCompletion) -> None:
        act = self._activations.pop(completion.run_id, None)
        if act is not None and await self._is_lost(act, completion):
            await self._lose(completion)
        else:
            await self._core.complete_workflow_activation(completion)

    async def _is_lost(self, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> bool:
        workflow_id = self._workflow_ids[act.run_id]
        case = self._cases.get(workflow_id)
        if case is None or act.is_replaying or any(job.HasField("remove_from_cache") for job in act.jobs):
            return False
        return await _see(case, case.flow_of(workflow_id), act, completion)

    async def _lose(self, completion: WorkflowActivationCompletion) -> None:
        run = {"workflow_id": self._workflow_ids[completion.run_id], "run_id": completion.run_id}
        is_first_attempt = await time_skipping.is_first_attempt(self._client, **run)
        completion.failed.failure.message = "the worker died"
        await self._core.complete_workflow_activation(completion)
        if not is_first_attempt:
            await time_skipping.report_lost_task(self._client, **run)


async def _see(case: Case, flow: Flow, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> bool:
    """Count what the activation brought and asks for, and let happen what happens at a wait; whether it is lost."""
    case.saw_time(flow, act.timestamp.ToDatetime())
    arrived = _count_arrivals(flow, act)
    woke = any(job.HasField("fire_timer") for job in act.jobs)
    kinds = [str(command.WhichOneof("variant")) for command in completion.successful.commands]
    asked = _count(kinds, STEPS)
    if not flow.dies:
        case.turns.task_done(flow, arrived=arrived, asked=asked, woke=woke, closes=_count(kinds, ENDS) > 0)
        arrived = 0
        if asked == 0 and "start_timer" in kinds and flow.waits_are_points:
            await case.arrive_waiting(flow)
    if flow.dies:
        flow.dies = False
        case.turns.task_lost(flow, arrived=arrived)
        return True
    cancelling = case.cancelling_of(flow)
    cancelling.abandoned.update(
        str(command.request_cancel_activity.seq)
        for command in completion.successful.commands
        if command.HasField("request_cancel_activity")
    )
    if any(job.HasField("cancel_workflow") or job.do_update.name == CANCEL_UPDATE for job in act.jobs):
        cancelling.arrived()
    return False


def _count_arrivals(flow: Flow, act: WorkflowActivation) -> int:
    jobs = [str(job.WhichOneof("variant")) for job in act.jobs]
    has_own_signal = flow.starts_with_signal and "initialize_workflow" in jobs and "signal_workflow" in jobs
    return _count(jobs, ARRIVALS) - has_own_signal


def _count(kinds: Iterable[str], wanted: frozenset[str]) -> int:
    return sum(kind in wanted for kind in kinds)
