"""A shop for saga tests: the real saga, worker and services, and the Stripe double, on the time-skipping server.

Nothing runs by itself: a test says when the customer pays and when Stripe's events arrive, and can hook into the saga's
steps to cancel the workflow, lose an answer or refuse at any point.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import stripe
from temporalio import activity
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, UnlockTimeSkippingRequest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import WorkflowRunner

from activities.local_slots import LocalSlots
from cli.audit.invariants import find_breaches
from cli.audit.read_databases import PaymentFacts, read_inventory, read_orders, read_payments
from cli.audit.read_outside import read_stripe
from domain.ids import new_id
from domain.orders import OrderLine
from domain.saga import OrderResult, SagaPolicy, order_workflow_id
from runtime.caller import SERVICE
from runtime.database import Database
from runtime.identity import Part
from runtime.rpc_client import open_channels
from runtime.settings import Settings
from runtime.statement_counts import StatementCounts
from sandbox.ports import free_port
from sandbox.stripe.clock import Clock
from sandbox.stripe.server import StripeDouble
from services.inventory.bootstrap import bootstrap as bootstrap_inventory
from services.inventory.model import StockLevel
from services.inventory.server import grpc_service as serve_inventory
from services.inventory.service import InventoryService
from services.order.bootstrap import bootstrap as bootstrap_order
from services.order.cancellation_service import CancellationService
from services.order.model import Address, NewOrder, Order, RefundUpdate
from services.order.server import grpc_service as serve_order
from services.order.service import OrderService
from services.payment.bootstrap import PaymentComponents
from services.payment.bootstrap import bootstrap as bootstrap_payment
from services.payment.payments.service import PaymentService
from services.payment.refunds.service import RefundService
from services.payment.server import grpc_service as serve_payment
from services.product.bootstrap import bootstrap as bootstrap_product
from services.product.model import Changes, NewProduct
from services.product.server import grpc_service as serve_product
from services.product.service import ProductService
from tests.support.audit_facts import facts
from tests.support.background import running
from tests.support.identities import tls_settings
from tests.support.payment_harness import payment_settings, sweep
from tests.support.rpc import serving
from tests.support.stripe_double import open_account, sdk
from workers.order_worker import CALLED, activities_over, workflow_runner
from workers.queues import Slots, working

TASK_QUEUE = "saga-tests"
POLL_ENDED = "No completion event found"
"""What the SDK says when the time-skipping server ends a poll for a result after 20 seconds, as on a busy machine."""
POLLS = 3
"""How many are made: a workflow that a defect keeps open is not waited for any longer."""
POLICY = SagaPolicy(payment_attempts=3, attention_after_seconds=60, payment_event_patience_seconds=5)
ADDRESS = Address(name="Customer", line1="1 Street", line2="", city="Town", postal_code="12345", country="DE")
Hook = Callable[[], Awaitable[None]]


@dataclass
class Hooks:
    """What happens around the steps, by step name; each hook runs at the step's first call only, then is gone."""

    before: dict[str, Hook] = field(default_factory=dict)
    after: dict[str, Hook] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """The workflow and the name of each step that took effect, in their order."""

    def clear(self) -> None:
        """Forget everything."""
        self.before.clear()
        self.after.clear()
        self.calls.clear()

    def wrap(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same activity, with the hooks around it."""
        definition = getattr(step, "__temporal_activity_definition")

        @activity.defn(name=definition.name)
        @functools.wraps(step, updated=())
        async def hooked(request: Any) -> Any:
            if hook := self.before.pop(definition.name, None):
                await hook()
            result = await step(request)
            self.calls.append((activity.info().workflow_id or "", definition.name))
            if hook := self.after.pop(definition.name, None):
                await hook()
            return result

        return hooked


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Everything a saga test needs."""

    env: WorkflowEnvironment
    settings: Settings
    activities: Sequence[Callable[..., Any]]
    """The steps, with their hooks: for a worker besides the shop's own."""
    hooks: Hooks
    databases: Mapping[str, str]
    products: ProductService
    inventory: InventoryService
    orders: OrderService
    cancellations: CancellationService
    order_database: Database
    payment: PaymentComponents
    counts: Mapping[str, StatementCounts]
    """What each service runs in its database."""
    stripe: stripe.StripeClient
    switches: httpx.AsyncClient
    """What only Stripe or somebody's bank can do: `POST /_sandbox/…` of its double."""

    @property
    def payments(self) -> PaymentService:
        """The payment service's payments."""
        return self.payment.payments

    @property
    def refunds(self) -> RefundService:
        """The payment service's refunds."""
        return self.payment.refunds

    async def product(self, *, price: int = 1_000, units: int = 10, currency: str = "EUR", name: str = "Thing") -> str:
        """A new product with so many units in stock."""
        product = await self.products.create(NewProduct(name=name, description="", unit_price=price, currency=currency))
        if units:
            await self.inventory.adjust(adjustment_id=new_id(), product_id=product.id, delta=units, note="delivery")
        return product.id

    async def set_price(self, product_id: str, unit_price: int) -> None:
        """Sell the product at another price from here on."""
        await self.products.update(product_id, Changes(unit_price=unit_price), expected_versions=())

    async def rename(self, product_id: str, name: str) -> None:
        """Call the product otherwise from here on."""
        await self.products.update(product_id, Changes(name=name), expected_versions=())

    async def place(self, *lines: tuple[str, int], **changes: Any) -> WorkflowHandle[Any, OrderResult]:
        """Place an order and answer with its workflow, once the order left RECEIVED (unless `wait` is 0)."""
        wait = changes.pop("wait", 0)
        new = NewOrder(
            user_id=new_id(),
            lines=[OrderLine(product, quantity) for product, quantity in lines],
            currency="EUR",
            shipping_address=ADDRESS,
            payment_method=None,
            expected_total=None,
            payment_window_seconds=900,
        )
        created = await self.orders.create(new.model_copy(update=changes), idempotency_key=new_id(), wait=wait)
        return self.env.client.get_workflow_handle(order_workflow_id(created.order.id), result_type=OrderResult)

    async def result(self, run: WorkflowHandle[Any, OrderResult]) -> OrderResult:
        """The workflow's result; until then the server skips the time in which nothing happens."""
        await self.env.client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
        try:
            for _ in range(POLLS - 1):
                try:
                    return await run.result()
                except RuntimeError as error:
                    if str(error) != POLL_ENDED:
                        raise
            return await run.result()
        finally:
            await self.env.client.test_service.lock_time_skipping(LockTimeSkippingRequest())

    async def order(self, run: WorkflowHandle[Any, OrderResult]) -> Order:
        """The order as it stands."""
        return await self.orders.get(run.id.removeprefix(order_workflow_id("")), caller=SERVICE)

    def steps_of(self, run: WorkflowHandle[Any, OrderResult]) -> Sequence[str]:
        """The steps of the order's saga that took effect, in their order; other tests' sagas may still be at work."""
        return [step for workflow_id, step in self.hooks.calls if workflow_id == run.id]

    async def stock(self, product_id: str) -> StockLevel:
        """The product's stock."""
        return await self.inventory.get_stock(product_id)

    async def pay(self, run: WorkflowHandle[Any, OrderResult], payment_method: str = "pm_card_visa") -> bool:
        """The customer confirms the payment at Stripe; whether the card was accepted."""
        payment = await self.payments.check(run.id.removeprefix(order_workflow_id("")), refresh=False)
        assert payment.intent_id is not None
        try:
            await self.stripe.v1.payment_intents.confirm_async(payment.intent_id, {"payment_method": payment_method})
        except stripe.CardError:
            return False
        return True

    async def apply_refund(self, order_id: str, amount: int) -> None:
        """The order gets the update that so much of it was refunded; at Stripe nothing is."""
        update = RefundUpdate(order_id=order_id, refund_id=new_id(), amount=amount, succeeded=True, version=1)
        await self.orders.mark_refunded(update)

    async def switch(self, path: str, **wanted: Any) -> None:
        """Let something happen at Stripe that no call of its API does."""
        (await self.switches.post(f"/_sandbox/{path}", json=wanted)).raise_for_status()

    async def deliver_events(self) -> None:
        """Stripe's events arrive, and are worked off."""
        await sweep(self.payment)
        await self.payment.inbox.process_due()

    async def disagreements(self, run: WorkflowHandle[Any, OrderResult]) -> list[str]:
        """What of money, stock and order does not agree, from the databases and Stripe."""
        order_id = run.id.removeprefix(order_workflow_id(""))
        paid = await self._read_settled_payments(order_id)
        orders, transitions = await read_orders(self.databases["order"])
        reservations, stock, restocks = await read_inventory(self.databases["inventory"])
        payments = paid.payments
        order = orders[order_id]
        known = facts(
            orders={order_id: order},
            transitions=[row for row in transitions if row.order_id == order_id],
            reservations=reservations,
            stock=[row for row in stock if row.product_id in order.lines],
            restocks=[row for row in restocks if row.product_id in order.lines],
            payments={order_id: payments[order_id]} if order_id in payments else {},
            refunds=[refund for refund in paid.refunds if refund.order_id == order_id],
            disputes=[dispute for dispute in paid.disputes if dispute.order_id == order_id],
            intents={
                intent.id: intent
                for intent in (await read_stripe(self.stripe, app=self.settings.stripe_app)).values()
                if intent.order_id == order_id
            },
        )
        return [f"{breach.invariant}: {breach.what}" for breach in find_breaches(known) if breach.invariant != 5]

    async def _read_settled_payments(self, order_id: str) -> PaymentFacts:
        """The payments, once no refund of the order is under way any more."""
        async with asyncio.timeout(20):
            while True:
                paid = await read_payments(self.databases["payment"])
                if not any(refund.saga_open for refund in paid.refunds if refund.order_id == order_id):
                    return paid
                await asyncio.sleep(0.05)


@asynccontextmanager
async def open_shop(
    databases: Mapping[str, str],
    env: WorkflowEnvironment,
    *,
    data: Path,
    runner: WorkflowRunner | None = None,
    task_queue: str = TASK_QUEUE,
    late_after: float | None = 5.0,
    **changes: object,
) -> AsyncIterator[Shop]:
    """Start services, double and worker, and stop them at the end; late refunds end by themselves after `late_after` s.

    The changes are of settings.

    Each open shop wants databases and a task queue of its own: it does by itself whatever is due there.
    """
    async with AsyncExitStack() as stack:

        def open_database(service: str) -> Database:
            database = Database(databases[service], pool_size=4)
            stack.push_async_callback(database.close)
            return database

        account = stack.enter_context(open_account(folder=data, clock=Clock(), late_after=late_after))
        double = await stack.enter_async_context(StripeDouble(account))
        order_port = free_port()  # payment and order service call each other
        settings = Settings.model_validate(
            payment_settings(databases["payment"], stripe_api_base=double.url)
            | {"temporal_task_queue": task_queue, "attention_after": POLICY.attention_after_seconds}
            | {"order_address": f"127.0.0.1:{order_port}"}
            | {f"{service}_dsn": dsn for service, dsn in databases.items()}
            | changes
        )
        payment = await stack.enter_async_context(bootstrap_payment(settings, temporal=env.client))
        await stack.enter_async_context(payment.listener)
        await stack.enter_async_context(running(payment.refund_follow_ups.run, payment.dispute_follow_ups.run))
        product = await stack.enter_async_context(bootstrap_product(settings))
        stock = await stack.enter_async_context(bootstrap_inventory(settings))
        addresses = {
            f"{service.part.value}_address": await stack.enter_async_context(serving(service))
            for service in (serve_product(product), serve_inventory(stock), serve_payment(payment))
        }
        worker_settings = settings.model_copy(update={**tls_settings(), **addresses})
        order = await stack.enter_async_context(bootstrap_order(worker_settings, temporal=env.client))
        await stack.enter_async_context(order.listener)
        await stack.enter_async_context(serving(serve_order(order), port=order_port))
        hooks = Hooks()
        channels = await stack.enter_async_context(open_channels(worker_settings, Part.ORDER_WORKER, *CALLED))
        slots = LocalSlots(settings.local_payment_slots)
        activities: Sequence[Callable[..., Any]] = [hooks.wrap(step) for step in activities_over(channels, slots)]
        await stack.enter_async_context(
            working(
                env.client,
                activities,
                task_queue=task_queue,
                runner=runner or workflow_runner(sandbox=True),
                slots=Slots.of(settings),
                grace=1,
                version=None,
            )
        )
        yield Shop(
            env=env,
            settings=settings,
            activities=activities,
            hooks=hooks,
            databases=databases,
            products=product.products,
            inventory=stock.inventory,
            orders=order.orders,
            cancellations=order.cancellations,
            order_database=order.database,
            payment=payment,
            counts={
                "product": product.database.counts,
                "inventory": stock.database.counts,
                "order": order.database.counts,
                "payment": payment.database.counts,
            },
            stripe=await stack.enter_async_context(sdk(double)),
            switches=await stack.enter_async_context(httpx.AsyncClient(base_url=double.url)),
        )
