"""The real services and the Stripe double behind the real activities, as a harness of `tests.support.step_harness`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import stripe
from temporalio.testing import ActivityEnvironment

from activities.order import OrderActivities
from activities.payment import PaymentActivities
from activities.pricing import PricingActivities
from activities.refunds import DisputeActivities, RefundActivities
from activities.stock import StockActivities
from domain.ids import new_id
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from ordersaga.inventory.v1.inventory_pb2_grpc import add_InventoryServiceServicer_to_server as add_inventory
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.order.v1.order_pb2_grpc import add_OrderServiceServicer_to_server as add_order
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.payment.v1.payment_pb2_grpc import add_PaymentServiceServicer_to_server as add_payment
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server as add_product
from runtime.caller import SERVICE
from runtime.database import Database
from runtime.rpc_client import open_channel
from runtime.rpc_server import RpcServer
from runtime.settings import Settings
from services.inventory.bootstrap import bootstrap as bootstrap_inventory
from services.inventory.server import InventoryServicer
from services.inventory.service import InventoryService
from services.order.bootstrap import bootstrap as bootstrap_order
from services.order.model import Address, NewOrder
from services.order.server import OrderServicer
from services.order.service import OrderService
from services.payment.payments.model import Payment
from services.payment.server import PaymentServicer
from services.product.bootstrap import bootstrap as bootstrap_product
from services.product.model import Changes
from services.product.server import ProductServicer
from services.product.service import ProductService
from tests.support.payment_harness import PaymentHarness, payment_harness
from tests.support.recorded_sagas import RecordedSagas
from tests.support.rows import fetch_rows
from tests.support.step_harness import USER, Money, StepHarness, order_lines

Request = TypeVar("Request")
Response = TypeVar("Response")


class ServicesHarness(StepHarness):
    """The services."""

    def __init__(
        self,
        payments: PaymentHarness,
        products: ProductService,
        inventory: InventoryService,
        orders: OrderService,
        order_database: Database,
    ) -> None:
        self._payments = payments
        self._products = products
        self._inventory = inventory
        self._orders = orders
        self._order_database = order_database
        self._activities = ActivityEnvironment()
        self._activities.info = replace(self._activities.info, start_to_close_timeout=timedelta(seconds=25))

    async def do(self, step: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        answer: Response = await self._activities.run(step, request)
        return answer

    async def product(self, *, price: int = 1_000, units: int = 10, currency: str = "EUR") -> str:
        product = await self._products.create(name="Thing", description="", unit_price=price, currency=currency)
        if units:
            await self._inventory.adjust(adjustment_id=new_id(), product_id=product.id, delta=units, note="delivery")
        return product.id

    async def withdraw(self, product_id: str) -> None:
        await self._products.update(product_id, Changes(active=False), expected_versions=())

    async def accept(self, *lines: tuple[str, int]) -> str:
        new = NewOrder(
            user_id=USER,
            lines=order_lines(*lines),
            currency="EUR",
            shipping_address=Address(name="C", line1="1 St", line2="", city="T", postal_code="1", country="DE"),
            payment_method=None,
            expected_total=None,
            payment_window_seconds=900,
        )
        return (await self._orders.create(new, idempotency_key=new_id(), wait=0)).order.id

    async def pay(self, order_id: str, card: str) -> None:
        try:
            await self._payments.sdk.v1.payment_intents.confirm_async(
                await self._intent(order_id), {"payment_method": card}
            )
        except stripe.CardError:
            return

    async def start_slow_payment(self, order_id: str) -> None:
        await self._payments.customer_pays(await self._payment(order_id), "pm_success_de")

    async def settle_slow_payment(self, order_id: str) -> None:
        self._payments.account.settle(await self._intent(order_id))

    async def cancel_at_stripe(self, order_id: str) -> None:
        await self._payments.sdk.v1.payment_intents.cancel_async(await self._intent(order_id))

    async def change_amount(self, order_id: str, amount: int) -> None:
        await self._payments.sdk.v1.payment_intents.update_async(await self._intent(order_id), {"amount": amount})

    async def request_refund(self, order_id: str, amount: int | None = None) -> str:
        return (await self._payments.request(await self._payment(order_id), amount)).refund.id

    async def open_refunds(self, order_id: str) -> list[str]:
        return [refund.id for refund in (await self._payment(order_id)).refunds if refund.saga_open]

    async def refund_in_dashboard(self, order_id: str, amount: int) -> None:
        await self._payments.refund_in_dashboard(await self._payment(order_id), amount)

    async def move_refund(self, order_id: str, status: str) -> None:
        newest = (await self._payments.refunds(await self._payment(order_id)))[0]
        self._payments.move_refund(newest.id, status)

    async def open_dispute(self, order_id: str) -> str:
        return await self._payments.dispute(await self._payment(order_id))

    async def move_dispute(self, dispute_id: str, status: str) -> None:
        self._payments.move_dispute(dispute_id, status)

    async def deliver_events(self) -> None:
        await self._payments.sweep()

    async def level(self, product_id: str) -> tuple[int, int]:
        level = await self._inventory.get_stock(product_id)
        return level.on_hand, level.reserved

    async def money(self, order_id: str) -> Money:
        intents = [
            intent
            async for intent in (
                await self._payments.sdk.v1.payment_intents.list_async({"limit": 100})
            ).auto_paging_iter()
            if intent.metadata.to_dict().get("order_id") == order_id
        ]
        refunds = [
            refund
            for intent in intents
            for refund in (await self._payments.sdk.v1.refunds.list_async({"payment_intent": intent.id})).data
        ]
        charges = [
            charge
            for intent in intents
            for charge in (await self._payments.sdk.v1.charges.list_async({"payment_intent": intent.id})).data
        ]
        return Money(
            intents=len(intents),
            status=intents[0].status if intents else None,
            captured=sum(intent.amount_received for intent in intents),
            refunded=sum(refund.amount for refund in refunds if refund.status == "succeeded"),
            refunds=len(refunds),
            failed_charges=sum(charge.status == "failed" for charge in charges),
        )

    async def history(self, order_id: str) -> list[str]:
        order = await self._orders.get(order_id, caller=SERVICE)
        return [transition.to_status.value for transition in order.transitions]

    async def attention(self, order_id: str) -> Mapping[str, str]:
        return dict(
            await fetch_rows(
                self._order_database,
                "SELECT step, cause FROM attention WHERE order_id = %(id)s AND cleared_at IS NULL",
                id=order_id,
            )
        )

    async def _payment(self, order_id: str) -> Payment:
        return await self._payments.service.check(order_id, refresh=False)

    async def _intent(self, order_id: str) -> str:
        payment = await self._payment(order_id)
        assert payment.intent_id is not None
        return payment.intent_id


@asynccontextmanager
async def open_services_harness(databases: Mapping[str, str], folder: Path) -> AsyncIterator[ServicesHarness]:
    """Start the services and Stripe's double; stop them at the end."""
    async with AsyncExitStack() as stack:

        def open_database(service: str) -> Database:
            database = Database(databases[service], pool_size=4)
            stack.push_async_callback(database.close)
            return database

        async def serve(add: Callable[[grpc.aio.Server], None]) -> Any:
            server = await stack.enter_async_context(RpcServer("127.0.0.1:0", services=(), add=add, grace=1))
            return await stack.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))

        payments = await stack.enter_async_context(payment_harness(databases["payment"]))
        settings = Settings.model_validate({f"{service}_dsn": dsn for service, dsn in databases.items()})
        product = await stack.enter_async_context(bootstrap_product(settings))
        stock = await stack.enter_async_context(bootstrap_inventory(settings))
        order = await stack.enter_async_context(bootstrap_order(settings, sagas=RecordedSagas()))
        payment_channel = await serve(lambda server: add_payment(PaymentServicer(payments.components), server))
        harness = ServicesHarness(payments, product.products, stock.inventory, order.orders, order.database)
        harness.payment = PaymentActivities(payments=PaymentServiceStub(payment_channel))
        harness.refund = RefundActivities(payments=PaymentServiceStub(payment_channel))
        harness.dispute = DisputeActivities(payments=PaymentServiceStub(payment_channel))
        harness.pricing = PricingActivities(
            products=ProductServiceStub(await serve(lambda server: add_product(ProductServicer(product), server))),
            payments=PaymentServiceStub(payment_channel),
        )
        harness.stock = StockActivities(
            inventory=InventoryServiceStub(await serve(lambda server: add_inventory(InventoryServicer(stock), server)))
        )
        harness.order = OrderActivities(
            orders=OrderServiceStub(await serve(lambda server: add_order(OrderServicer(order), server)))
        )
        yield harness
