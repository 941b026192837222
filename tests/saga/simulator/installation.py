"""A small installation of the real services: databases of its own, one Stripe account in memory, no network.

It runs one case after the other. Whoever calls a service calls its servicer through generated stubs and the real
interceptor (`tests.support.direct_channel`), so nothing in the services knows that it is being simulated.

The payment service runs twice, on one database. The steps of the sagas are carried out by the first process. Whatever
else happens to it (webhooks, its inbox and sweeps, an admin's refund, a request that comes late) reaches the second, so
that it may happen while the first is in the middle of a call to Stripe.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import stripe
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.local_slots import LocalSlots
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from runtime.database import Database
from runtime.rpc_server import GrpcService
from runtime.settings import Settings
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.in_process import InProcessClient
from services.inventory.bootstrap import bootstrap as bootstrap_inventory
from services.inventory.server import grpc_service as serve_inventory
from services.order.bootstrap import OrderComponents
from services.order.bootstrap import bootstrap as bootstrap_order
from services.order.server import grpc_service as serve_order
from services.payment.bootstrap import PaymentComponents
from services.payment.bootstrap import bootstrap as bootstrap_payment
from services.payment.server import grpc_service as serve_payment
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.product.bootstrap import bootstrap as bootstrap_product
from services.product.server import grpc_service as serve_product
from tests.saga.simulator.stripe_calls import StripeCalls
from tests.support.direct_channel import DirectChannel
from tests.support.identities import tls_settings
from workers.order_worker import make_activities

SERVICES: Final = ("order", "payment", "inventory", "product")
TASK_QUEUE: Final = "simulator"
API_KEY: Final = "sk_test_simulator"
WEBHOOK_SECRET: Final = "whsec_simulator"  # signs nothing outside of this process
SETTINGS: Final = Settings(
    **tls_settings(),  # for channels that nothing is called over
    temporal_task_queue=TASK_QUEUE,
    payment_attempts=3,
    attention_after=60,
    payment_event_timeout=5,
    stripe_api_key=SecretStr(API_KEY),
    stripe_webhook_secret=SecretStr(WEBHOOK_SECRET),
    stripe_payment_method_types=["card", "sepa_debit"],
    stripe_rate=10_000,
    provider_events_in_progress=1,  # so that what comes of several comes in the same order in every run
)
POOL: Final = 3
"""Connections to each database: steps of one case go one by one, and what happens in the middle of one needs more."""

Step = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The services, and what stands around them."""

    account: StripeAccount
    transports: Sequence[StripeCalls]
    """How the processes of the payment service reach it."""
    reader: stripe.StripeClient
    """The official SDK, which the audit reads Stripe with."""
    order: OrderComponents
    orders: OrderServiceStub
    inventory: InventoryServiceStub
    products: ProductServiceStub
    payment: PaymentComponents
    """The process that everything but the steps reaches."""
    payments: PaymentServiceStub
    """The same."""
    steps: Mapping[str, Step]
    """The activities of the order worker by name."""
    late_steps: Mapping[str, Step]
    """The same, which reach the other process of the payment service."""

    async def repeat(self, step: str, request: Any) -> Any:
        """Carry out a step as a request that comes once more, or late: nobody hears the answer of the workflow."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, start_to_close_timeout=timedelta(minutes=1))
        return await environment.run(self.late_steps[step], request)


@asynccontextmanager
async def open_installation(dsns: Mapping[str, str], temporal: Client) -> AsyncIterator[Installation]:
    """Wire the services, the one place that does.

    Args:
        dsns: service to the DSN of its migrated, empty database.
        temporal: what services start and notify workflows with.
    """
    async with AsyncExitStack() as stack:
        databases = {name: Database(dsns[name], pool_size=POOL) for name in SERVICES}
        for database in databases.values():
            stack.push_async_callback(database.close)
        account = stack.enter_context(
            StripeAccount(
                api_key=API_KEY, webhook_secret=WEBHOOK_SECRET, webhook_events=HANDLED_EVENT_TYPES, late_after=None
            )
        )
        transports = [StripeCalls(account), StripeCalls(account, disturbed=False)]

        async def payment_process(http: stripe.HTTPClient) -> tuple[PaymentComponents, PaymentServiceStub]:
            components = await stack.enter_async_context(
                bootstrap_payment(
                    SETTINGS, database=databases["payment"], stripe_http=http, temporal=temporal, orders=orders
                )
            )
            return components, PaymentServiceStub(_direct(serve_payment(components)))

        order = await stack.enter_async_context(
            bootstrap_order(SETTINGS, database=databases["order"], temporal=temporal)
        )
        orders = OrderServiceStub(_direct(serve_order(order)))
        _, first = await payment_process(transports[0])
        payment, second = await payment_process(transports[1])
        product = await stack.enter_async_context(bootstrap_product(SETTINGS, database=databases["product"]))
        inventory = await stack.enter_async_context(bootstrap_inventory(SETTINGS, database=databases["inventory"]))
        products = ProductServiceStub(_direct(serve_product(product)))
        stock = InventoryServiceStub(_direct(serve_inventory(inventory)))

        def steps(payments: PaymentServiceStub) -> Mapping[str, Step]:
            made = make_activities(
                slots=LocalSlots(SETTINGS.local_payment_slots),
                products=products,
                inventory=stock,
                payments=payments,
                orders=orders,
            )
            return {getattr(step, "__temporal_activity_definition").name: step for step in made}

        yield Installation(
            account=account,
            transports=transports,
            reader=stripe.StripeClient(API_KEY, http_client=InProcessClient(account), max_network_retries=0),
            order=order,
            orders=orders,
            inventory=stock,
            products=products,
            payment=payment,
            payments=second,
            steps=steps(first),
            late_steps=steps(second),
        )


def _direct(service: GrpcService) -> Any:
    return DirectChannel(service)
