"""Runs workflow code in sight of its case: tells it where the saga waits, and loses the task when its worker dies.

A workflow task is lost as in `tests/saga/test_lost_tasks.py`: its outcome is replaced by a failure, so that nothing of
it is in the history, the local steps included, and the next attempt starts with an empty cache. Only a first attempt
is lost: the SDK does not report that a later one failed, and the server waits for it until its time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from domain.saga import CANCEL_UPDATE
from tests.explorer.case import Case

LONGEST: Final = 1.5
"""Seconds for what happens at a wait: the SDK takes a task of two seconds for a deadlock."""
AT_WORK: Final = ("schedule_activity", "schedule_local_activity")


class WatchedRunner(WorkflowRunner):
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

        lengths: list[int] = []
        is_again = det.info.workflow_id in self._known
        self._known.add(det.info.workflow_id)

        def activate_in_sight(act: WorkflowActivation) -> WorkflowActivationCompletion:
            case = self._cases.get(det.info.workflow_id)
            if case is not None and not act.is_replaying:
                lengths.append(act.history_length)
                case.is_retry = is_again and act.history_length == lengths[0]
            completion = activate(act)
            if case is None or act.is_replaying or any(job.HasField("remove_from_cache") for job in act.jobs):
                return completion
            now = act.timestamp.ToDatetime()
            case.began, case.ended = case.began or now, now
            kinds = _kinds(completion)
            if _waits(kinds):
                # Within the task, so that what happens arrives with the next one, whatever the server is at.
                asyncio.run_coroutine_threadsafe(case.arrive("wait"), self._loop).result(LONGEST)
            if case.dies:
                case.dies = False
                completion.failed.failure.message = "the worker died"
                return completion
            if "schedule_activity" in kinds:
                case.turn.expect_activity(self._loop)
            case.wish.given_up.update(_given_up(completion))
            if any(job.HasField("cancel_workflow") or job.do_update.name == CANCEL_UPDATE for job in act.jobs):
                case.wish.hear(self._loop)
            return completion

        instance.activate = activate_in_sight  # type: ignore[method-assign]  # the one place to see and lose a task
        return instance


def _waits(kinds: Collection[str | None]) -> bool:
    """Whether the saga has started a timer and nothing else: it waits for its customer, or for the history."""
    return "start_timer" in kinds and not set(kinds).intersection(AT_WORK)


def _kinds(completion: WorkflowActivationCompletion) -> set[str | None]:
    """What the workflow's code asked for."""
    return {command.WhichOneof("variant") for command in completion.successful.commands}


def _given_up(completion: WorkflowActivationCompletion) -> set[str]:
    """The ids of the activities that the workflow's code wants cancelled; the SDK names them by their number."""
    commands = completion.successful.commands
    return {
        str(command.request_cancel_activity.seq) for command in commands if command.HasField("request_cancel_activity")
    }
