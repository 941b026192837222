"""The services that know something of a person: the user service has them forget it, or look for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from ordersaga.notification.v1 import notification_pb2
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from ordersaga.order.v1 import order_pb2
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.caller import SERVICE
from runtime.identity import Credentials, Part
from runtime.rpc_client import call, open_channel
from runtime.settings import Settings

_DEADLINE: Final = 10.0
"""Of a call, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Stubs of those services."""

    orders: OrderServiceStub
    notifications: NotificationServiceStub

    async def adopt_guest_orders(self, email: str) -> None:
        """Let an account be looked for that has this address, for what was ordered with it as a guest.

        Raises:
            ServiceUnavailable: the order service is away.
        """
        request = order_pb2.AdoptGuestOrdersRequest(email=email)
        await call(self.orders.AdoptGuestOrders, request, caller=SERVICE, deadline=_DEADLINE)

    async def forget(self, user_id: str) -> bool:
        """Have each forget the person; whether all have. One whose orders are open is needed until they have ended.

        Raises:
            ServiceUnavailable: one of them is away.
        """
        erase_user = notification_pb2.EraseUserRequest(user_id=user_id)
        await call(self.notifications.EraseUser, erase_user, caller=SERVICE, deadline=_DEADLINE)
        erase_customer = order_pb2.EraseCustomerRequest(user_id=user_id)
        while True:
            answer = await call(self.orders.EraseCustomer, erase_customer, caller=SERVICE, deadline=_DEADLINE)
            if not answer.more:
                return answer.open_orders == 0


@asynccontextmanager
async def open_others(settings: Settings) -> AsyncIterator[Others]:
    """Channels to them, which connect on first use and close at the end.

    Raises:
        SettingsError: the user service has no certificate.
    """
    us = Credentials.of(settings, Part.USER)
    async with AsyncExitStack() as stack:
        orders = await stack.enter_async_context(open_channel(Part.ORDER, settings.order_address, us))
        notifications = await stack.enter_async_context(
            open_channel(Part.NOTIFICATION, settings.notification_address, us)
        )
        yield Others(orders=OrderServiceStub(orders), notifications=NotificationServiceStub(notifications))
