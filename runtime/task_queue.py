"""How much work waits at Temporal for a worker, asked by somebody else than the workers, who may be dead or frozen."""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client

from domain.saga import payment_queue
from runtime.measuring import Measurement, Reading
from runtime.metrics import TASK_QUEUE_AGE_SECONDS, TASK_QUEUE_BACKLOG, TASK_QUEUE_POLLERS
from runtime.temporal import RPC_TIMEOUT, ask_temporal

_WORKFLOW: Final = "workflow"
_ACTIVITY: Final = "activity"
_TYPES: Final = {
    _WORKFLOW: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    _ACTIVITY: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


async def describe_task_queue(
    client: Client, task_queue: str, kind: TaskQueueType.ValueType
) -> DescribeTaskQueueResponse:
    """What Temporal says of a task queue; its figures may be some seconds old.

    Raises:
        TemporalAway, TemporalRefused: it does not say.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind, report_stats=True
    )
    return await ask_temporal(lambda: client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT))


async def count_waiting_workflows(client: Client, task_queue: str) -> int:
    """How many workflows wait for a worker to begin or to go on with them, about, but for those in a worker's cache.

    Raises:
        TemporalAway, TemporalRefused: Temporal does not say.
    """
    answer = await describe_task_queue(client, task_queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
    return answer.stats.approximate_backlog_count


def task_queue_measurement(client: Client, task_queue: str) -> Measurement:
    """What waits in the order worker's task queues, about, as Temporal says it (it leaves out tasks that wait for one
    worker's cache): this one, and that of retried steps that ask Stripe."""
    payments = payment_queue(task_queue)
    watched = ((task_queue, _WORKFLOW), (task_queue, _ACTIVITY), (payments, _ACTIVITY))

    async def ask() -> list[Reading]:
        answers = await asyncio.gather(*(describe_task_queue(client, queue, _TYPES[kind]) for queue, kind in watched))
        return [
            reading
            for labels, answer in zip(watched, answers, strict=True)
            for reading in (
                Reading(TASK_QUEUE_BACKLOG, answer.stats.approximate_backlog_count, labels),
                Reading(TASK_QUEUE_AGE_SECONDS, answer.stats.approximate_backlog_age.ToNanoseconds() / 1e9, labels),
                Reading(TASK_QUEUE_POLLERS, len({poller.identity for poller in answer.pollers}), labels),
            )
        ]

    return Measurement("task_queue", ask)
