"""The order worker: runs the workflows of orders, refunds and disputes, and their steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.calling import StripeCalls
from activities.local_slots import LocalSlots
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
from workers.first_version import take_over_if_first
from workers.queues import Slots, working


def workflow_runner(*, sandbox: bool) -> WorkflowRunner:
    """How workflow code is run: guarded against non-deterministic calls, or unguarded and faster."""
    if not sandbox:
        return UnsandboxedWorkflowRunner()
    shared = SandboxRestrictions.default.with_passthrough_modules("domain", "opentelemetry")
    return SandboxedWorkflowRunner(restrictions=shared)


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


def activities_over(channels: Channels, slots: LocalSlots) -> list[Callable[..., Any]]:
    """Every step of the workflows, over these channels; the slots are for local attempts that may ask Stripe."""
    return make_activities(
        slots=slots,
        products=ProductServiceStub(channels[Part.PRODUCT]),
        inventory=InventoryServiceStub(channels[Part.INVENTORY]),
        payments=PaymentServiceStub(channels[Part.PAYMENT]),
        orders=OrderServiceStub(channels[Part.ORDER]),
    )


def make_activities(
    *,
    slots: LocalSlots,
    products: ProductServiceStub,
    inventory: InventoryServiceStub,
    payments: PaymentServiceStub,
    orders: OrderServiceStub,
) -> list[Callable[..., Any]]:
    """Every step of the workflows, over these services; the slots are for local attempts that may ask Stripe."""
    stripe = StripeCalls(slots)
    pricing = PricingActivities(products=products, payments=payments)
    stock = StockActivities(inventory=inventory)
    payment = PaymentActivities(payments=payments, stripe=stripe)
    refunds = RefundActivities(payments=payments, stripe=stripe)
    disputes = DisputeActivities(payments=payments, stripe=stripe)
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
        activities = activities_over(channels, LocalSlots(settings.local_payment_slots))
        async with working(
            client,
            activities,
            task_queue=settings.temporal_task_queue,
            runner=workflow_runner(sandbox=settings.workflow_sandbox),
            slots=Slots.of(settings),
            grace=settings.shutdown_grace,
            version=worker_version(settings),
        ):
            await take_over_if_first(client, settings, lifecycle.stopping)
            lifecycle.ready()
            await lifecycle.stopping.wait()
