"""What the workflow code does at a replay, as the SDK does not tell: each command of each task, and why a task fails.

The SDK's own answer says nothing of a task that ends in an error of the code's own, and little of where it differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner


@dataclass(slots=True)
class Recording:
    """What one workflow did.

    Attributes:
        commands: what its code asked for, in turn, each with the last event that it knew then.
        failure: why its task failed.
        failed_at: the last event that the code knew when that happened.
        began_at: of a task that is under way, or whose code never came back.
    """

    commands: list[tuple[int, WorkflowCommand]] = field(default_factory=list)
    failure: Failure | None = None
    failed_at: int = 0
    began_at: int | None = None

    def keep(self, known: int, completion: WorkflowActivationCompletion) -> None:
        """What came of one activation."""
        self.began_at = None
        own = WorkflowActivationCompletion()
        own.CopyFrom(completion)  # what is in it may be encrypted on its way on
        if own.HasField("failed"):
            if self.failure is None:
                self.failure, self.failed_at = own.failed.failure, known
            return
        self.commands += [(known, command) for command in own.successful.commands]


class RecordingRunner(WorkflowRunner):
    """Runs workflows as another runner does, and records what they do."""

    def __init__(self, runner: WorkflowRunner) -> None:
        self._runner = runner
        self._recordings: list[Recording] = []

    def begin(self) -> None:
        """Forget what was recorded."""
        self._recordings = []

    @property
    def recording(self) -> Recording:
        """Of the workflow that ran since: the first one whose task failed, where the SDK ran it more than once."""
        failed = (recording for recording in self._recordings if recording.failure is not None)
        return next(failed, self._recordings[-1] if self._recordings else Recording())

    def prepare_workflow(self, defn: workflow._Definition) -> None:
        """See `WorkflowRunner`."""
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See `WorkflowRunner`."""
        recording = Recording()
        self._recordings.append(recording)
        return _RecordedInstance(self._runner.create_instance(det), recording)


class _RecordedInstance(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance, recording: Recording) -> None:
        self._instance = instance
        self._recording = recording

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        known = act.history_length
        if any(job.HasField("remove_from_cache") for job in act.jobs):  # the end: what it does there counts for nothing
            return self._instance.activate(act)
        self._recording.began_at = known
        completion = self._instance.activate(act)
        self._recording.keep(known, completion)
        return completion

    def get_serialization_context(self, command_info: object) -> SerializationContext | None:
        return self._instance.get_serialization_context(command_info)  # type: ignore[arg-type]  # the SDK's private type

    def get_external_store_context(self, command_info: object) -> StorageDriverStoreContext:
        return self._instance.get_external_store_context(command_info)  # type: ignore[arg-type]  # likewise

    def get_info(self) -> workflow.Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
