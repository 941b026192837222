"""Runs workflow code in sight of its case: counts what comes and goes, and loses a task when its worker dies.

A task is lost as in `tests.explorer.watched_runner`: its outcome is replaced by a failure, so that nothing of it is in
the history, and the next attempt starts with an empty cache. Only a first attempt is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from tests.explorer.refund_case import Case, case_key

ARRIVALS: Final = frozenset(
    {"initialize_workflow", "signal_workflow", "cancel_workflow", "do_update", "resolve_activity"}
)
ASKS: Final = frozenset({"schedule_activity", "schedule_local_activity"})


class CountingRunner(WorkflowRunner):
    """The worker's own runner without its sandbox, which costs more than all the rest."""

    def __init__(self, cases: Mapping[str, Case]) -> None:
        self._inner = UnsandboxedWorkflowRunner()
        self._cases = cases
        self._known: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def prepare_workflow(self, defn: Any) -> None:
        self._inner.prepare_workflow(defn)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        self._inner.set_worker_level_failure_exception_types(types)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._inner.create_instance(det)
        activate: Callable[[WorkflowActivation], WorkflowActivationCompletion] = instance.activate
        first_length: list[int] = []
        is_again = det.info.run_id in self._known
        self._known.add(det.info.run_id)

        def activate_in_sight(act: WorkflowActivation) -> WorkflowActivationCompletion:
            completion = activate(act)
            jobs = [str(job.WhichOneof("variant")) for job in act.jobs]
            case = self._cases.get(case_key(det.info.workflow_id))
            if case is None or act.is_replaying or "remove_from_cache" in jobs:
                return completion
            flow = case.gate.flows[det.info.workflow_id]
            first_length.append(act.history_length)
            flow.is_retry = is_again and act.history_length == first_length[0]
            arrived, asked = _count(jobs, ARRIVALS), 0
            if flow.dies:
                flow.dies = False
                completion.failed.failure.message = "the worker died"
                arrived -= 1  # the same task comes again
            else:
                asked = _count([str(each.WhichOneof("variant")) for each in completion.successful.commands], ASKS)
            waits = not asked
            woke = "fire_timer" in jobs
            self._loop.call_soon_threadsafe(
                lambda: case.gate.count(flow, arrived=arrived, asked=asked, woke=woke, waits=waits)
            )
            return completion

        instance.activate = activate_in_sight  # type: ignore[method-assign]  # the one place to see and lose a task
        return instance


def _count(kinds: list[str], wanted: frozenset[str]) -> int:
    return sum(kind in wanted for kind in kinds)
