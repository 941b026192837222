"""The order worker: runs the workflows of orders, refunds and disputes, and their steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.order import OrderActivities
from activities.payment import PaymentActivities
from activities.pricing import PricingActivities
from activities.refunds import DisputeActivities, RefundActivities
from activities.stock import StockActivities
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from runtime.health import Checks, wait_for_needs
from runtime.identity import Part
from runtime.process import Lifecycle
from runtime.release import worker_version
from runtime.rpc_client import Channels, open_channels
from runtime.rpc_health import serving
from runtime.settings import Settings
from runtime.temporal import connect_temporal, wait_for_temporal
from runtime.temporal_namespace import find_problem
from runtime.temporal_tracing import StepLog
from workers.first_version import take_over_if_first
from workers.measured_steps import MeasuredSteps
from workflows.dispute_case import DisputeCase
from workflows.order_saga import OrderSaga
from workflows.refund_saga import RefundSaga

WORKFLOWS: Final[Sequence[type]] = (OrderSaga, RefundSaga, DisputeCase)
MAX_CACHED: Final = 2_000
"""Waiting orders that are kept in memory; others are replayed when something happens to them."""
MAX_CONCURRENT: Final = 40
"""Workflow tasks, and activities, at once: bounded, because a task that waits 2 s for the CPU counts as deadlocked."""


def workflow_runner(*, sandbox: bool) -> WorkflowRunner:
    """How workflow code is run: guarded against non-deterministic calls, or unguarded and faster."""
    if not sandbox:
        return UnsandboxedWorkflowRunner()
    shared = SandboxRestrictions.default.with_passthrough_modules("domain", "opentelemetry")
    return SandboxedWorkflowRunner(restrictions=shared)


def make_worker(
    client: Client,
    activities: Sequence[Callable[..., Any]],
    *,
    task_queue: str,
    runner: WorkflowRunner,
    grace: float,
    version: WorkerDeploymentVersion | None,
) -> Worker:
    """The worker, alike in production and in tests; at a stop running activities get `grace` seconds to end.

    Without a `version` it takes what comes; only a server that knows nothing of versions lets such a worker do so.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=activities,
        workflow_runner=runner,
        interceptors=[MeasuredSteps(), StepLog()],
        max_cached_workflows=MAX_CACHED,
        max_concurrent_workflow_tasks=MAX_CONCURRENT,
        max_concurrent_activities=MAX_CONCURRENT,
        max_concurrent_local_activities=MAX_CONCURRENT,
        graceful_shutdown_timeout=timedelta(seconds=grace),
        deployment_config=None if version is None else WorkerDeploymentConfig(version, use_worker_versioning=True),
    )


CALLED: Final = (Part.PRODUCT, Part.INVENTORY, Part.PAYMENT, Part.ORDER)
"""Services that the steps call."""


@asynccontextmanager
async def open_checks(settings: Settings) -> AsyncIterator[Checks]:
    """What it looks at, without doing its work.

    Raises:
        SettingsError: the order worker has no certificate, or the Temporal profile does not fit.
    """
    async with AsyncExitStack() as stack:
        channels = await stack.enter_async_context(open_channels(settings, Part.ORDER_WORKER, *CALLED))
        yield _checks(channels, await connect_temporal(settings, lazy=True))


def _checks(channels: Channels, client: Client) -> Checks:
    return Checks(
        needs={"temporal": partial(find_problem, client)},
        uses={part.value: serving(channel) for part, channel in channels.items()},
    )


def activities_over(channels: Channels) -> list[Callable[..., Any]]:
    """Every step of the workflows, over these channels."""
    return make_activities(
        products=ProductServiceStub(channels[Part.PRODUCT]),
        inventory=InventoryServiceStub(channels[Part.INVENTORY]),
        payments=PaymentServiceStub(channels[Part.PAYMENT]),
        orders=OrderServiceStub(channels[Part.ORDER]),
    )


def make_activities(
    *,
    products: ProductServiceStub,
    inventory: InventoryServiceStub,
    payments: PaymentServiceStub,
    orders: OrderServiceStub,
) -> list[Callable[..., Any]]:
    """Every step of the workflows, over these services."""
    pricing = PricingActivities(products=products, payments=payments)
    stock = StockActivities(inventory=inventory)
    payment = PaymentActivities(payments=payments)
    refunds = RefundActivities(payments=payments)
    disputes = DisputeActivities(payments=payments)
    order = OrderActivities(orders=orders)
    return [
        pricing.quote,
        stock.reserve,
        stock.release,
        stock.commit,
        stock.restock,
        payment.open_payment,
        payment.check_payment,
        payment.close_payment,
        payment.void_payment,
        refunds.carry_out_refund,
        refunds.replace_refund,
        refunds.resolve_refund,
        refunds.close_refund,
        disputes.check_dispute,
        disputes.close_dispute,
        order.mark_pending,
        order.mark,
        order.mark_refunded,
        order.read_order,
        order.resume_order,
        order.attention,
    ]


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Work until the process stops."""
    async with AsyncExitStack() as stack:
        channels = await stack.enter_async_context(open_channels(settings, Part.ORDER_WORKER, *CALLED))
        checks = _checks(channels, await connect_temporal(settings, lazy=True))
        lifecycle.health.watch(checks)
        if not await wait_for_needs(Part.ORDER_WORKER, checks, lifecycle.stopping):
            return
        client = await wait_for_temporal(settings, lifecycle)
        if client is None:
            return
        activities = activities_over(channels)
        runner = workflow_runner(sandbox=settings.workflow_sandbox)
        worker = make_worker(
            client,
            activities,
            task_queue=settings.temporal_task_queue,
            runner=runner,
            grace=settings.shutdown_grace,
            version=worker_version(settings),
        )
        async with worker:
            await take_over_if_first(client, settings, lifecycle.stopping)
            lifecycle.ready()
            await lifecycle.stopping.wait()
