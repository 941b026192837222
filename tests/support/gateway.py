"""The gateway for tests: the real application over HTTP, in front of real services on the embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.app import create_app
from api.services import Services, open_services
from domain.ids import new_id
from domain.orders import CancelledBy
from domain.saga import OrderInput, SagaPolicy
from ordersaga.inventory.v1.inventory_pb2_grpc import add_InventoryServiceServicer_to_server as add_inventory
from ordersaga.notification.v1.notification_pb2_grpc import (
    add_NotificationServiceServicer_to_server as add_notification,
)
from ordersaga.order.v1.order_pb2_grpc import add_OrderServiceServicer_to_server as add_order
from ordersaga.payment.v1.payment_pb2_grpc import add_PaymentServiceServicer_to_server as add_payment
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server as add_product
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from ordersaga.user.v1.user_pb2_grpc import add_UserServiceServicer_to_server as add_user
from runtime.caller import Caller, CallerRole
from runtime.database import Database, Listener
from runtime.rpc_client import open_channel
from runtime.rpc_server import RpcServer
from runtime.settings import Settings
from runtime.tokens import TokenSigner, TokenVerifier
from runtime.wakeups import Wakeups
from sandbox.stripe.server import StripeDouble
from services.inventory.bootstrap import InventoryComponents
from services.inventory.server import InventoryServicer
from services.inventory.service import InventoryService
from services.notification.directory import Directory
from services.notification.messenger import Messenger
from services.notification.server import NotificationServicer
from services.notification.service import NotificationService
from services.notification.smtp import Smtp
from services.order.cancelling import CancelService
from services.order.repository import ORDERS_CHANNEL
from services.order.sagas import SagaUnavailable
from services.order.server import OrderServicer
from services.order.service import OrderService
from services.payment.bootstrap import bootstrap as bootstrap_payment
from services.payment.server import PaymentServicer
from services.product.server import ProductServicer
from services.product.service import ProductService
from services.user.passwords import Passwords
from services.user.refresh_tokens import RefreshTokens
from services.user.server import UserServicer
from services.user.service import UserService
from tests.support.payment_harness import SagaRecorder, payment_settings
from tests.support.stripe_double import API_KEY, WEBHOOK_SECRET

NOWHERE = "127.0.0.1:1"
"""An address where nobody listens."""
PASSWORD = "correct horse"
POLICY = SagaPolicy(payment_attempts=3, attention_after_seconds=60, payment_event_patience_seconds=5)

_KEY = Ed25519PrivateKey.generate()
PRIVATE_PEM = _KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC_PEM = (
    _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)


class Sagas:
    """Stands where the order service reaches Temporal: away, unless a test says what a started saga does."""

    def __init__(self) -> None:
        self.on_start: Callable[[OrderInput], Awaitable[None]] | None = None
        self.on_cancel: Callable[[str, CancelledBy], Awaitable[None]] | None = None

    async def start(self, order: OrderInput) -> None:
        """See `Sagas`."""
        if self.on_start is None:
            raise SagaUnavailable("no Temporal in this test")
        await self.on_start(order)

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        """See `Sagas`."""
        if self.on_cancel is None:
            raise SagaUnavailable("no Temporal in this test")
        await self.on_cancel(order_id, cancelled_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway: `http` to call it, `services` to reach behind it."""

    http: httpx.AsyncClient
    services: Services
    sagas: Sagas


def bearer(role: CallerRole, user_id: str | None = None, *, ttl: float = 3_600) -> dict[str, str]:
    """The header with a token of that role, made to outlive the suite; a ttl below zero makes one that has expired."""
    caller = Caller(role, user_id or new_id())
    return {"Authorization": f"Bearer {TokenSigner(PRIVATE_PEM, ttl=ttl).sign(caller).text}"}


def forged_bearer() -> dict[str, str]:
    """The header with an admin's token that somebody else signed."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    token = TokenSigner(pem.decode(), ttl=60).sign(Caller(CallerRole.ADMIN, new_id()))
    return {"Authorization": f"Bearer {token.text}"}


def order_body(*product_ids: str, **changes: Any) -> dict[str, Any]:
    """A request for one piece of each product, as changed."""
    return {
        "lines": [{"product_id": product_id, "quantity": 1} for product_id in product_ids or (new_id(),)],
        "currency": "EUR",
        "shipping_address": {
            "name": "Customer",
            "line1": "1 High Street",
            "city": "Springfield",
            "postal_code": "12345",
            "country": "DE",
        },
        **changes,
    }


@asynccontextmanager
async def gateway_without_services() -> AsyncIterator[Gateway]:
    """The application alone; every service is away."""
    async with open_gateway({}, Sagas()) as gateway:
        yield gateway


@asynccontextmanager
async def gateway_with_services(
    databases: Mapping[str, str], *, stripe_data: Path, sms: Messenger | None = None
) -> AsyncIterator[Gateway]:
    """The application in front of the real services that it calls, and the Stripe double behind the payment service.

    Nobody works off the inbox of events or the queue of notifications here, and the double delivers none: the tests
    stand at the gateway's door. Without `sms` there is no messenger for these.
    """
    sagas = Sagas()
    async with AsyncExitStack() as stack:

        def open_database(service: str) -> Database:
            database = Database(databases[service], pool_size=4)
            stack.push_async_callback(database.close)
            return database

        async def serve(add: Callable[[grpc.aio.Server], None]) -> str:
            server = await stack.enter_async_context(RpcServer("127.0.0.1:0", services=(), add=add, grace=1))
            return f"127.0.0.1:{server.port}"

        users = open_database("user")
        user = UserServicer(
            UserService(users, Passwords()),
            TokenSigner(PRIVATE_PEM, ttl=60),
            RefreshTokens(users, ttl=timedelta(seconds=60)),
        )
        product = ProductServicer(ProductService(open_database("product")))
        stock_database = open_database("inventory")
        inventory = InventoryServicer(
            InventoryComponents(database=stock_database, inventory=InventoryService(stock_database))
        )
        wakeups = Wakeups()
        order_database = open_database("order")
        orders = OrderService(order_database, sagas, wakeups, policy=POLICY)
        order = OrderServicer(orders, CancelService(order_database, orders, sagas, wakeups))
        await stack.enter_async_context(Listener(databases["order"], channel=ORDERS_CHANNEL, on_wake=wakeups.wake))
        double = await stack.enter_async_context(
            StripeDouble(data=stripe_data, api_key=API_KEY, webhook_secret=WEBHOOK_SECRET, webhook_url=None)
        )
        payment_service = await stack.enter_async_context(
            bootstrap_payment(
                Settings.model_validate(payment_settings(databases["payment"], stripe_api_base=double.url)),
                sagas=SagaRecorder(),
            )
        )
        await stack.enter_async_context(payment_service.listener)
        payment = PaymentServicer(payment_service)
        user_address = await serve(lambda server: add_user(user, server))
        product_address = await serve(lambda server: add_product(product, server))
        directory = Directory(
            users=UserServiceStub(await stack.enter_async_context(open_channel(user_address))),
            products=ProductServiceStub(await stack.enter_async_context(open_channel(product_address))),
            deadline=5,
        )
        notification = NotificationServicer(
            NotificationService(open_database("notification"), directory=directory, mail=Smtp(Settings()), sms=sms),
            on_queued=lambda: None,
        )
        addresses = {
            "user_address": user_address,
            "product_address": product_address,
            "inventory_address": await serve(lambda server: add_inventory(inventory, server)),
            "payment_address": await serve(lambda server: add_payment(payment, server)),
            "order_address": await serve(lambda server: add_order(order, server)),
            "notification_address": await serve(lambda server: add_notification(notification, server)),
        }
        yield await stack.enter_async_context(open_gateway(addresses, sagas))


@asynccontextmanager
async def open_gateway(addresses: Mapping[str, str], sagas: Sagas) -> AsyncIterator[Gateway]:
    """The application in front of the services at those addresses; the others are away."""
    nowhere = {
        f"{service}_address": NOWHERE
        for service in ("user", "product", "inventory", "order", "payment", "notification")
    }
    settings = Settings.model_validate({**nowhere, **addresses})
    async with open_services(settings) as services:
        app = create_app(services, TokenVerifier(PUBLIC_PEM))
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)  # type: ignore[arg-type]  # Litestar's own types
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
            yield Gateway(http=http, services=services, sagas=sagas)


async def sign_up(gateway: Gateway) -> tuple[str, dict[str, str]]:
    """A new customer's id, and the header with their token."""
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}
    user = (await gateway.http.post("/v1/users", json=account)).json()
    return user["id"], bearer(CallerRole.CUSTOMER, user["id"])
