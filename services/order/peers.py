"""The other services, as the order service calls them: to see what stands still there, and to act on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from domain.payments import PaymentStatus
from domain.refusals import Refusal
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceStub
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from ordersaga.user.v1 import user_pb2
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import SERVICE
from runtime.identity import Part
from runtime.protos import enum_mapping
from runtime.refusal import CallRefused
from runtime.rpc_client import call, open_channels
from runtime.settings import Settings

DEADLINE: Final = 5.0
"""Of a call, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Stubs of the other services; `on_call` asks each what stands still in its tables."""

    users: UserServiceStub
    payments: PaymentServiceStub
    notifications: NotificationServiceStub
    on_call: Mapping[Part, OnCallServiceStub]

    async def is_processing(self, order_id: str) -> bool:
        """Whether a bank is processing the order's payment, which may take days.

        Raises:
            ServiceUnavailable: the payment service is away.
        """
        request = pb.CheckPaymentRequest(order_id=order_id, refresh=False)
        try:
            answer = await call(self.payments.CheckPayment, request, caller=SERVICE, deadline=DEADLINE)
        except CallRefused as refused:
            if refused.refusal is Refusal.PAYMENT_NOT_FOUND:
                return False
            raise
        statuses = enum_mapping(PaymentStatus, pb.PaymentStatus.DESCRIPTOR)
        return statuses.from_proto(answer.payment.status) is PaymentStatus.PROCESSING

    async def find_account_fault(self, user_id: str) -> str | None:
        """Why nobody can log in with this account; None where somebody can.

        Raises:
            ServiceUnavailable: the user service is away.
        """
        request = user_pb2.GetUserRequest(user_id=user_id)
        try:
            answer = await call(self.users.GetUser, request, caller=SERVICE, deadline=DEADLINE)
        except CallRefused as refused:
            if refused.refusal not in (Refusal.USER_NOT_FOUND, Refusal.USER_ERASED):
                raise
            return "must be the id of an account"
        return "must be the id of an account that is not disabled" if answer.user.disabled else None


@asynccontextmanager
async def open_peers(settings: Settings) -> AsyncIterator[Peers]:
    """Channels to all of them, which connect on first use and close at the end.

    Raises:
        SettingsError: the order service has no certificate.
    """
    others = (Part.USER, Part.PRODUCT, Part.INVENTORY, Part.PAYMENT, Part.NOTIFICATION)
    async with open_channels(settings, Part.ORDER, *others) as channels:
        yield Peers(
            users=UserServiceStub(channels[Part.USER]),
            payments=PaymentServiceStub(channels[Part.PAYMENT]),
            notifications=NotificationServiceStub(channels[Part.NOTIFICATION]),
            on_call={part: OnCallServiceStub(channel) for part, channel in channels.items()},
        )
