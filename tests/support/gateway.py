"""The gateway for tests: the real application over HTTP, in front of real services on the embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.app import create_app
from api.services import Services, open_services
from domain.ids import new_id
from ordersaga.inventory.v1.inventory_pb2_grpc import add_InventoryServiceServicer_to_server as add_inventory
from ordersaga.notification.v1.notification_pb2_grpc import (
    add_NotificationServiceServicer_to_server as add_notification,
)
from ordersaga.order.v1.order_pb2_grpc import add_OrderServiceServicer_to_server as add_order
from ordersaga.payment.v1.payment_pb2_grpc import add_PaymentServiceServicer_to_server as add_payment
from ordersaga.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server as add_product
from ordersaga.user.v1.user_pb2_grpc import add_UserServiceServicer_to_server as add_user
from runtime.caller import Caller, CallerRole
from runtime.database import Database
from runtime.rpc_server import RpcServer
from runtime.settings import Settings
from runtime.tokens import TokenSigner, TokenVerifier
from sandbox.stripe.clock import Clock
from sandbox.stripe.server import StripeDouble
from services.inventory.bootstrap import bootstrap as bootstrap_inventory
from services.inventory.server import InventoryServicer
from services.notification.bootstrap import bootstrap as bootstrap_notification
from services.notification.messenger import Messenger
from services.notification.server import NotificationServicer
from services.order.bootstrap import bootstrap as bootstrap_order
from services.order.server import OrderServicer
from services.payment.bootstrap import bootstrap as bootstrap_payment
from services.payment.server import PaymentServicer
from services.product.bootstrap import bootstrap as bootstrap_product
from services.product.server import ProductServicer
from services.user.bootstrap import bootstrap as bootstrap_user
from services.user.server import UserServicer
from tests.support.payment_harness import payment_settings
from tests.support.recorded_sagas import RecordedSagas
from tests.support.saga_recorder import SagaRecorder
from tests.support.stripe_double import open_account

NOWHERE = "127.0.0.1:1"
"""An address where nobody listens."""
PASSWORD = "correct horse"

_KEY = Ed25519PrivateKey.generate()
PRIVATE_PEM = _KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC_PEM = (
    _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway: `http` to call it, `services` to reach behind it."""

    http: httpx.AsyncClient
    services: Services
    sagas: RecordedSagas
    """Of orders: they do nothing, unless a test says what."""


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
    """A request for one unit of each product, as changed."""
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
    async with open_gateway({}, RecordedSagas()) as gateway:
        yield gateway


@asynccontextmanager
async def gateway_with_services(
    databases: Mapping[str, str], *, stripe_data: Path, sms: Messenger | None = None
) -> AsyncIterator[Gateway]:
    """The application in front of the real services that it calls, and the Stripe double behind the payment service.

    Nobody works off the inbox of events or the queue of notifications here, and the double delivers none: the tests
    stand at the gateway's door. Without `sms` there is no messenger for these.
    """
    sagas = RecordedSagas()
    async with AsyncExitStack() as stack:

        def open_database(service: str) -> Database:
            database = Database(databases[service], pool_size=4)
            stack.push_async_callback(database.close)
            return database

        async def serve(add: Callable[[grpc.aio.Server], None]) -> str:
            server = await stack.enter_async_context(RpcServer("127.0.0.1:0", services=(), add=add, grace=1))
            return f"127.0.0.1:{server.port}"

        settings = Settings.model_validate(
            {
                "jwt_private_key": PRIVATE_PEM,
                "access_token_ttl": 60,
                "refresh_token_ttl": 600,
                "database_pool_size": 4,
                **{f"{service}_dsn": dsn for service, dsn in databases.items()},
            }
        )
        user = UserServicer(await stack.enter_async_context(bootstrap_user(settings)))
        product = ProductServicer(await stack.enter_async_context(bootstrap_product(settings)))
        inventory = InventoryServicer(await stack.enter_async_context(bootstrap_inventory(settings)))
        orders = await stack.enter_async_context(bootstrap_order(settings, sagas=sagas))
        await stack.enter_async_context(orders.listener)
        order = OrderServicer(orders)
        account = stack.enter_context(open_account(folder=stripe_data, clock=Clock()))
        double = await stack.enter_async_context(StripeDouble(account))
        payment_service = await stack.enter_async_context(
            bootstrap_payment(
                Settings.model_validate(payment_settings(databases["payment"], stripe_api_base=double.url)),
                sagas=SagaRecorder(),
            )
        )
        await stack.enter_async_context(payment_service.listener)
        payment = PaymentServicer(payment_service)
        addresses = {
            "user_address": await serve(lambda server: add_user(user, server)),
            "product_address": await serve(lambda server: add_product(product, server)),
            "inventory_address": await serve(lambda server: add_inventory(inventory, server)),
            "payment_address": await serve(lambda server: add_payment(payment, server)),
            "order_address": await serve(lambda server: add_order(order, server)),
        }
        notification = NotificationServicer(
            await stack.enter_async_context(bootstrap_notification(settings.model_copy(update=addresses), sms=sms))
        )
        addresses["notification_address"] = await serve(lambda server: add_notification(notification, server))
        yield await stack.enter_async_context(open_gateway(addresses, sagas))


@asynccontextmanager
async def open_gateway(addresses: Mapping[str, str], sagas: RecordedSagas) -> AsyncIterator[Gateway]:
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
