"""The gateway for tests: the real application over HTTP, in front of real services on the embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio
import httpx

from api.app import create_app
from api.edge import Edge
from api.services import Services, open_services
from domain.ids import new_id
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import CallerRole
from runtime.database import Database
from runtime.ended_sessions import EndedSessions, ended_sessions_of
from runtime.identity import Part
from runtime.settings import Settings
from runtime.tokens import TokenVerifier
from sandbox.ports import address, free_port
from sandbox.stripe.clock import Clock
from sandbox.stripe.server import StripeDouble
from services.inventory.bootstrap import bootstrap as bootstrap_inventory
from services.inventory.server import grpc_service as serve_inventory
from services.notification.bootstrap import NotificationComponents
from services.notification.bootstrap import bootstrap as bootstrap_notification
from services.notification.messenger import Messenger
from services.notification.server import grpc_service as serve_notification
from services.order.bootstrap import OrderComponents
from services.order.bootstrap import bootstrap as bootstrap_order
from services.order.server import grpc_service as serve_order
from services.payment.bootstrap import bootstrap as bootstrap_payment
from services.payment.server import grpc_service as serve_payment
from services.product.bootstrap import bootstrap as bootstrap_product
from services.product.server import grpc_service as serve_product
from services.user.bootstrap import UserComponents
from services.user.bootstrap import bootstrap as bootstrap_user
from services.user.limits.server import limits_service
from services.user.server import grpc_service as serve_user
from tests.support.identities import PRIVATE_PEM, PUBLIC_KEYS, bearer, tls_settings
from tests.support.payment_harness import payment_settings
from tests.support.recorded_sagas import RecordedSagas
from tests.support.rpc import open_callers, serving
from tests.support.saga_recorder import SagaRecorder
from tests.support.stripe_double import open_account

NOWHERE = "127.0.0.1:1"
"""An address where nobody listens."""
PASSWORD = "correct horse"
ORDER_PAGE = "https://shop.example.test/order"
"""Where the links of guests lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway: `http` to call it, `services` to reach behind it, as whoever does in production."""

    http: httpx.AsyncClient
    services: Services
    addresses: Mapping[str, str]
    """Settings that say where its services are."""
    ended: EndedSessions
    """What it knows of sessions that ended; it asks when a test has it ask."""
    sagas: RecordedSagas
    """Of orders: they do nothing, unless a test says what."""
    accounts: UserComponents | None = None
    """The user service, if there is one."""
    orders: OrderComponents | None = None
    """Likewise the order service: nobody works off what is due in it, but for a test."""
    notifications: NotificationComponents | None = None

    @property
    def user(self) -> UserComponents:
        """The user service: nobody works off what is due in it, but for a test."""
        assert self.accounts is not None
        return self.accounts

    @property
    def order(self) -> OrderComponents:
        """The order service, likewise."""
        assert self.orders is not None
        return self.orders

    @property
    def notification(self) -> NotificationComponents:
        """The notification service, likewise."""
        assert self.notifications is not None
        return self.notifications


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
    databases: Mapping[str, str],
    *,
    stripe_data: Path,
    sms: Messenger | None = None,
    mail: Messenger | None = None,
    refund_approval_limit: int = 0,
) -> AsyncIterator[Gateway]:
    """The application in front of the real services that it calls, and the Stripe double behind the payment service.

    Nobody works off the inbox of events or the queue of notifications here, and the double delivers none: the tests
    stand at the gateway's door. Without `sms` there is no messenger for these, and without `mail` a relay that is away.
    """
    sagas = RecordedSagas()
    async with AsyncExitStack() as stack:

        def open_database(service: str) -> Database:
            database = Database(databases[service], pool_size=4)
            stack.push_async_callback(database.close)
            return database

        ports = {service: free_port() for service in ("order", "notification", "user", "payment")}
        settings = Settings.model_validate(
            {
                **tls_settings(),
                **{f"{service}_address": address(port) for service, port in ports.items()},
                "jwt_private_key": PRIVATE_PEM,
                "access_token_ttl": 60,
                "refresh_token_ttl": 600,
                "guest_checkout": True,
                "order_page": ORDER_PAGE,
                "database_pool_size": 4,
                **{f"{service}_dsn": dsn for service, dsn in databases.items()},
            }
        )
        user = await stack.enter_async_context(bootstrap_user(settings))
        product = await stack.enter_async_context(bootstrap_product(settings))
        inventory = await stack.enter_async_context(bootstrap_inventory(settings))
        order = await stack.enter_async_context(bootstrap_order(settings, sagas=sagas))
        await stack.enter_async_context(order.listener)
        account = stack.enter_context(open_account(folder=stripe_data, clock=Clock()))
        double = await stack.enter_async_context(StripeDouble(account))
        payment = await stack.enter_async_context(
            bootstrap_payment(
                Settings.model_validate(
                    {
                        **payment_settings(databases["payment"], stripe_api_base=double.url),
                        "refund_approval_limit": refund_approval_limit,
                    }
                ),
                sagas=SagaRecorder(),
            )
        )
        await stack.enter_async_context(payment.listener)
        addresses = {
            f"{service.part.value}_address": await stack.enter_async_context(serving(service))
            for service in (
                serve_product(product),
                serve_inventory(inventory),
            )
        }
        addresses["user_address"] = await stack.enter_async_context(
            serving(serve_user(user), limits_service(user.limits), port=ports["user"])
        )
        addresses["payment_address"] = await stack.enter_async_context(
            serving(serve_payment(payment), port=ports["payment"])
        )
        addresses["order_address"] = await stack.enter_async_context(serving(serve_order(order), port=ports["order"]))
        notification = await stack.enter_async_context(
            bootstrap_notification(settings.model_copy(update=addresses), sms=sms, mail=mail)
        )
        addresses["notification_address"] = await stack.enter_async_context(
            serving(serve_notification(notification), port=ports["notification"])
        )
        gateway = await stack.enter_async_context(open_gateway(addresses, sagas, user=user))
        yield replace(gateway, orders=order, notifications=notification)


@asynccontextmanager
async def open_gateway(
    addresses: Mapping[str, str],
    sagas: RecordedSagas,
    edge: Edge | None = None,
    *,
    user: UserComponents | None = None,
) -> AsyncIterator[Gateway]:
    """The application in front of the services at those addresses, with no limits unless told; the others are away."""
    nowhere = {
        f"{service}_address": NOWHERE
        for service in ("user", "product", "inventory", "order", "payment", "notification")
    }
    settings = Settings.model_validate({**tls_settings(), **nowhere, **addresses})
    async with (
        open_services(settings) as services,
        open_behind(settings) as behind,
        ended_sessions_of(settings, Part.GATEWAY) as ended,
    ):
        app = create_app(services, TokenVerifier(PUBLIC_KEYS, ended=ended), edge)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)  # type: ignore[arg-type]  # Litestar's own types
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
            yield Gateway(http=http, services=behind, addresses=addresses, ended=ended, sagas=sagas, accounts=user)


@asynccontextmanager
async def open_behind(settings: Settings) -> AsyncIterator[Services]:
    """Stubs for the services over which each call is made by the part that makes it in production."""
    async with AsyncExitStack() as stack:

        async def callers(part: Part, hosts: str) -> grpc.aio.Channel:
            return await stack.enter_async_context(open_callers(part, hosts))

        yield Services(
            user=UserServiceStub(await callers(Part.USER, settings.user_address)),
            product=ProductServiceStub(await callers(Part.PRODUCT, settings.product_address)),
            inventory=InventoryServiceStub(await callers(Part.INVENTORY, settings.inventory_address)),
            order=OrderServiceStub(await callers(Part.ORDER, settings.order_address)),
            payment=PaymentServiceStub(await callers(Part.PAYMENT, settings.payment_address)),
            notification=NotificationServiceStub(await callers(Part.NOTIFICATION, settings.notification_address)),
            limits=LimitsServiceStub(await callers(Part.USER, settings.user_address)),
            on_call={},
            health={},
            deadline=settings.grpc_deadline,
            password_deadline=settings.password_deadline,
        )


async def sign_up(gateway: Gateway) -> tuple[str, dict[str, str]]:
    """A new customer's id, and the header with their token."""
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}
    user = (await gateway.http.post("/v1/users", json=account)).json()
    return user["id"], bearer(CallerRole.CUSTOMER, user["id"])
