"""The versions of the order worker at Temporal, its worker deployment: which gets new orders, and what runs on each.

https://docs.temporal.io/worker-versioning
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentInfo, WorkerDeploymentVersion
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus, WorkerVersioningMode
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DeleteWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from domain.saga import DISPUTE_CASE, ORDER_SAGA, REFUND_SAGA
from runtime.task_queue import describe_task_queue
from runtime.temporal import RPC_TIMEOUT, TemporalRefused, ask_temporal

SEEN_WITHIN: Final = timedelta(seconds=90)
"""A worker asks for tasks once a minute, at least."""
_KINDS: Final = (ORDER_SAGA, REFUND_SAGA, DISPUTE_CASE)
_CALL: Final = timedelta(seconds=10)


class Status(StrEnum):
    """Of a version, in Temporal's words.

    Attributes:
        INACTIVE: its workers have asked for work, and it never got any.
        CURRENT: it gets new orders, and what is not pinned.
        RAMPING: it gets a share of them.
        DRAINING: it gets no more, and has open orders.
        DRAINED: all its orders are closed.
    """

    INACTIVE = "inactive"
    CURRENT = "current"
    RAMPING = "ramping"
    DRAINING = "draining"
    DRAINED = "drained"


_STATUS: Final[Mapping[WorkerDeploymentVersionStatus.ValueType, Status]] = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: Status.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: Status.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: Status.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: Status.DRAINED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of the order worker.

    Attributes:
        percentage: of new orders that it gets.
        open: open workflows that run on it, by kind.
        workers: how many asked for work within `SEEN_WITHIN`.
    """

    build_id: str
    status: Status
    percentage: float
    open: Mapping[str, int] = field(default_factory=dict)
    workers: int = 0

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody is there for what it has to do."""
        return not self.workers and (bool(self.open) or self.percentage > 0)


class Deployment:
    """The order worker's deployment. Every call may raise `TemporalAway`, and `TemporalRefused` where it says so."""

    def __init__(self, client: Client, name: str, *, task_queue: str) -> None:
        self._client = client
        self._name = name
        self._task_queue = task_queue

    async def versions(self) -> Sequence[Version]:
        """All versions, the newest first; none where no worker was ever there."""
        info = await self.find()
        if info is None:
            return []
        workers = await self.workers(self._task_queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
        routing = info.routing_config
        current, ramping = routing.current_deployment_version.build_id, routing.ramping_deployment_version.build_id
        ramp = routing.ramping_version_percentage
        found = []
        for summary in info.version_summaries:
            build_id = summary.deployment_version.build_id
            share = 100 - ramp if build_id == current else ramp if build_id == ramping else 0.0
            found.append(
                Version(
                    build_id=build_id,
                    status=_STATUS.get(summary.status, Status.INACTIVE),
                    percentage=share,
                    open=await self._count_open(build_id),
                    workers=workers.get(build_id, 0),
                )
            )
        return found

    async def find(self) -> WorkerDeploymentInfo | None:
        """What Temporal knows of it; None before the first of its workers has asked for work."""
        asked = DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=self._name)
        try:
            answer = await ask_temporal(
                lambda: self._client.workflow_service.describe_worker_deployment(asked, timeout=RPC_TIMEOUT)
            )
        except TemporalRefused as refused:
            if refused.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        return answer.worker_deployment_info

    async def set_current(self, build_id: str) -> None:
        """Give it all new orders, and end a ramp.

        Raises:
            TemporalRefused: there is no such version, or none of its workers has asked for work.
        """
        asked = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace, deployment_name=self._name, build_id=build_id
        )
        service = self._client.workflow_service
        await ask_temporal(lambda: service.set_worker_deployment_current_version(asked, timeout=_CALL), within=_CALL)

    async def ramp(self, build_id: str, percentage: float) -> None:
        """Give it a share of the new orders, in percent; with 0 a ramp ends.

        Raises:
            TemporalRefused: as for `set_current`.
        """
        asked = SetWorkerDeploymentRampingVersionRequest(
            namespace=self._client.namespace,
            deployment_name=self._name,
            build_id=build_id if percentage else "",
            percentage=percentage,
        )
        service = self._client.workflow_service
        await ask_temporal(lambda: service.set_worker_deployment_ramping_version(asked, timeout=_CALL), within=_CALL)

    async def delete(self, build_id: str) -> None:
        """Forget a version.

        Raises:
            TemporalRefused: it is not drained, or has workers.
        """
        asked = DeleteWorkerDeploymentVersionRequest(
            namespace=self._client.namespace, deployment_version=self._version(build_id)
        )
        service = self._client.workflow_service
        await ask_temporal(lambda: service.delete_worker_deployment_version(asked, timeout=_CALL), within=_CALL)

    async def open_workflows(self, build_id: str) -> Sequence[tuple[str, str]]:
        """The ids of the open workflows, and of their runs, that run on a version."""
        query = f"{self._on(build_id)} AND ExecutionStatus = 'Running'"
        listed = self._client.list_workflows(query, rpc_timeout=_CALL)
        found = []
        while (workflow := await ask_temporal(lambda: anext(listed, None), within=_CALL)) is not None:
            found.append((workflow.id, workflow.run_id))
        return found

    async def move(self, workflow_id: str, run_id: str, build_id: str) -> None:
        """Pin a workflow to another version, whose code it has to replay on.

        Raises:
            TemporalRefused: it is closed, or there is no such version.
        """
        pin = VersioningOverride.PinnedOverride(
            behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED, version=self._version(build_id)
        )
        asked = UpdateWorkflowExecutionOptionsRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            workflow_execution_options=WorkflowExecutionOptions(versioning_override=VersioningOverride(pinned=pin)),
            update_mask=FieldMask(paths=["versioning_override"]),
        )
        service = self._client.workflow_service
        await ask_temporal(lambda: service.update_workflow_execution_options(asked, timeout=_CALL), within=_CALL)

    def _version(self, build_id: str) -> WorkerDeploymentVersion:
        return WorkerDeploymentVersion(deployment_name=self._name, build_id=build_id)

    def _on(self, build_id: str) -> str:
        return f"TemporalWorkerDeploymentVersion = '{self._name}:{build_id}'"

    async def _count_open(self, build_id: str) -> Mapping[str, int]:
        counts = {}
        for kind in _KINDS:
            query = f"{self._on(build_id)} AND ExecutionStatus = 'Running' AND WorkflowType = '{kind}'"
            found = await ask_temporal(lambda: self._client.count_workflows(query, rpc_timeout=_CALL), within=_CALL)  # noqa: B023
            if found.count:
                counts[kind] = found.count
        return counts

    async def workers(self, task_queue: str, kind: TaskQueueType.ValueType) -> Mapping[str, int]:
        """By version, how many workers ask for work of a task queue, or did until a moment ago."""
        answer = await describe_task_queue(self._client, task_queue, kind)
        since = datetime.now(UTC) - SEEN_WITHIN
        found: dict[str, set[str]] = {}
        for poller in answer.pollers:
            options = poller.deployment_options
            is_ours = options.deployment_name == self._name
            is_versioned = options.worker_versioning_mode == WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
            if is_ours and is_versioned and poller.last_access_time.ToDatetime(UTC) > since:
                found.setdefault(options.build_id, set()).add(poller.identity)
        return {build_id: len(identities) for build_id, identities in found.items()}
