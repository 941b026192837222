"""The two task queues of the order worker, and the SDK's worker for each.

Everything goes by the one queue, but for retried steps that may ask Stripe: these have a queue, a worker and slots of
their own, so that however many of them wait for Stripe, there are slots for everything else. First attempts are local:
they run within the workflow's task, and `activities.local_slots` sees to it that few of these wait for Stripe
(docs/decisions/0029).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig, WorkflowRunner

from domain.saga import payment_queue
from runtime.settings import Settings
from runtime.temporal_tracing import StepLog
from workers.measured_steps import MeasuredSteps
from workflows.activity_calls import step_name
from workflows.dispute_case import DisputeCase
from workflows.order_saga import OrderSaga
from workflows.refund_saga import RefundSaga
from workflows.steps import ASK_STRIPE

WORKFLOWS: Final[Sequence[type]] = (OrderSaga, RefundSaga, DisputeCase)
ASKING_STRIPE: Final = frozenset(step_name(step) for step in ASK_STRIPE)
"""By name, the steps that the payment queue has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """How much an order worker does at once; see the settings of these names."""

    workflow_slots: int
    step_slots: int
    payment_slots: int
    cached_workflows: int

    @classmethod
    def of(cls, settings: Settings) -> Slots:
        """As the settings have it."""
        return cls(
            workflow_slots=settings.workflow_slots,
            step_slots=settings.step_slots,
            payment_slots=settings.payment_slots,
            cached_workflows=settings.cached_workflows,
        )


@asynccontextmanager
async def working(
    client: Client,
    activities: Sequence[Callable[..., Any]],
    *,
    task_queue: str,
    runner: WorkflowRunner,
    slots: Slots,
    grace: float,
    version: WorkerDeploymentVersion | None,
) -> AsyncIterator[None]:
    """Work at both queues, alike in production and in tests, as long as the context is open.

    Args:
        client: of Temporal.
        activities: every step of the workflows.
        task_queue: of everything but retried steps that may ask Stripe.
        runner: runs workflow code.
        slots: how much is done at once.
        grace: what running activities get to end at a stop, seconds.
        version: of the code. Without one it takes what comes; only a server that knows nothing of versions lets it.
    """
    deployment = None if version is None else WorkerDeploymentConfig(version, use_worker_versioning=True)
    shutdown = timedelta(seconds=grace)
    payments = Worker(
        client,
        task_queue=payment_queue(task_queue),
        activities=[step for step in activities if step_name(step) in ASKING_STRIPE],
        interceptors=[MeasuredSteps(), StepLog()],
        max_concurrent_activities=slots.payment_slots,
        graceful_shutdown_timeout=shutdown,
        deployment_config=deployment,
    )
    # It has all steps: they are attempted here first, and an order that began on an older release retries all of them
    # by this queue.
    everything = Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=activities,
        workflow_runner=runner,
        interceptors=[MeasuredSteps(), StepLog()],
        max_cached_workflows=slots.cached_workflows,
        max_concurrent_workflow_tasks=slots.workflow_slots,
        max_concurrent_activities=slots.step_slots,
        max_concurrent_local_activities=slots.step_slots,
        graceful_shutdown_timeout=shutdown,
        deployment_config=deployment,
    )
    async with payments, everything:
        yield
