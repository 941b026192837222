"""The services behind the gateway: a typed stub for each, over one channel per address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceStub
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.health import Check
from runtime.identity import Part
from runtime.order_records import ORDER_PARTS
from runtime.rpc_client import open_channels
from runtime.rpc_health import serving
from runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the gateway calls.

    Attributes:
        limits: has the rate limits that gateways share.
        on_call: says what each service knows of an order.
        health: asks each service whether it serves.
        deadline: what a call gets, seconds.
        password_deadline: what a call gets that has a password hashed.
    """

    user: UserServiceStub
    product: ProductServiceStub
    inventory: InventoryServiceStub
    order: OrderServiceStub
    payment: PaymentServiceStub
    notification: NotificationServiceStub
    limits: LimitsServiceStub
    on_call: Mapping[Part, OnCallServiceStub]
    health: Mapping[str, Check]
    deadline: float
    password_deadline: float


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Stubs for all services; channels connect on first use and close at the end.

    Raises:
        SettingsError: the gateway has no certificate.
    """
    services = (Part.USER, Part.PRODUCT, Part.INVENTORY, Part.ORDER, Part.PAYMENT, Part.NOTIFICATION)
    async with open_channels(settings, Part.GATEWAY, *services) as channels:
        yield Services(
            user=UserServiceStub(channels[Part.USER]),
            product=ProductServiceStub(channels[Part.PRODUCT]),
            inventory=InventoryServiceStub(channels[Part.INVENTORY]),
            order=OrderServiceStub(channels[Part.ORDER]),
            payment=PaymentServiceStub(channels[Part.PAYMENT]),
            notification=NotificationServiceStub(channels[Part.NOTIFICATION]),
            limits=LimitsServiceStub(channels[Part.USER]),
            on_call={part: OnCallServiceStub(channels[part]) for part in ORDER_PARTS},
            health={part.value: serving(channel) for part, channel in channels.items()},
            deadline=settings.grpc_deadline,
            password_deadline=settings.password_deadline,
        )
