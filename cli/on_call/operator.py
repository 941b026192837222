"""The services, called as the operator whose certificate the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceStub
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.identity import Part
from runtime.order_records import ORDER_PARTS
from runtime.rpc_client import open_channels
from runtime.settings import Settings

DEADLINE: Final = 10.0
"""Of a call, seconds: what is asked for may wait for what comes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Stubs of the services that operators call."""

    users: UserServiceStub
    orders: OrderServiceStub
    payments: PaymentServiceStub
    notifications: NotificationServiceStub
    on_call: Mapping[Part, OnCallServiceStub]


@asynccontextmanager
async def open_operator(settings: Settings) -> AsyncIterator[Operator]:
    """Channels to the services, which connect on first use and close at the end.

    Raises:
        SettingsError: the settings name no operator's certificate.
    """
    async with open_channels(settings, Part.OPERATOR, *ORDER_PARTS, Part.USER) as channels:
        yield Operator(
            users=UserServiceStub(channels[Part.USER]),
            orders=OrderServiceStub(channels[Part.ORDER]),
            payments=PaymentServiceStub(channels[Part.PAYMENT]),
            notifications=NotificationServiceStub(channels[Part.NOTIFICATION]),
            on_call={part: OnCallServiceStub(channels[part]) for part in ORDER_PARTS},
        )
