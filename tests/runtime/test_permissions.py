"""Who may call what: every method of every service, for every part, with every kind of certificate and token.

The table is the specification: a method that is declared otherwise, or not at all, fails here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2

from domain.ids import new_id
from ordersaga.inventory.v1 import inventory_pb2
from ordersaga.inventory.v1.inventory_pb2_grpc import add_InventoryServiceServicer_to_server
from ordersaga.notification.v1 import notification_pb2
from ordersaga.notification.v1.notification_pb2_grpc import add_NotificationServiceServicer_to_server
from ordersaga.oncall.v1 import on_call_pb2
from ordersaga.oncall.v1.on_call_pb2_grpc import add_OnCallServiceServicer_to_server
from ordersaga.order.v1 import order_pb2
from ordersaga.order.v1.order_pb2_grpc import add_OrderServiceServicer_to_server
from ordersaga.payment.v1 import payment_pb2
from ordersaga.payment.v1.payment_pb2_grpc import add_PaymentServiceServicer_to_server
from ordersaga.product.v1 import product_pb2
from ordersaga.product.v1.product_pb2_grpc import ProductServiceServicer, add_ProductServiceServicer_to_server
from ordersaga.user.v1 import user_pb2
from ordersaga.user.v1.user_pb2_grpc import add_UserServiceServicer_to_server
from runtime.caller import Caller, CallerRole
from runtime.identity import Part
from runtime.on_call import OnCallServicer
from runtime.permissions import Permissions, UndeclaredMethod, allow
from runtime.rpc_client import open_channel
from runtime.rpc_server import GrpcService
from sandbox.certificates import CertificateAuthority
from services.inventory.server import InventoryServicer
from services.notification.server import NotificationServicer
from services.order.server import OrderServicer
from services.payment.server import PaymentServicer
from services.product.server import ProductServicer
from services.user.server import UserServicer
from tests.support.identities import VERIFIER, authority, credentials, forged_bearer, sign
from tests.support.rpc import serving

ITSELF: Final = "itself"
VISITOR, GUEST, CUSTOMER, SUPPORT, ADMIN = (
    CallerRole.ANONYMOUS,
    CallerRole.GUEST,
    CallerRole.CUSTOMER,
    CallerRole.SUPPORT,
    CallerRole.ADMIN,
)
_BY_WORKER: Final = {Part.ORDER_WORKER: [ITSELF]}
_BY_GATEWAY: Final = {Part.GATEWAY: [ITSELF]}
_BY_CODEC_SERVER: Final = {Part.CODEC_SERVER: [ITSELF]}
_FOR_USERS: Final = {Part.GATEWAY: [CUSTOMER, SUPPORT, ADMIN]}
_FOR_READERS: Final = {Part.GATEWAY: [GUEST, CUSTOMER, SUPPORT, ADMIN]}
_FOR_STAFF: Final = {Part.GATEWAY: [SUPPORT, ADMIN]}
_FOR_ADMINS: Final = {Part.GATEWAY: [ADMIN]}
_FOR_ALL: Final = {Part.GATEWAY: [VISITOR, CUSTOMER, SUPPORT, ADMIN]}
_BY_WHO_VERIFIES: Final = {
    part: [ITSELF]
    for part in (
        Part.GATEWAY,
        Part.PRODUCT,
        Part.INVENTORY,
        Part.ORDER,
        Part.PAYMENT,
        Part.NOTIFICATION,
        Part.CODEC_SERVER,
    )
}
_BY_NOTIFICATION: Final = {Part.NOTIFICATION: [ITSELF]}
_BY_ORDER: Final = {Part.ORDER: [ITSELF]}
_BY_OPERATORS: Final = {Part.OPERATOR: [ITSELF]}

ALLOWED: Final[Mapping[str, Mapping[Part, Sequence[str]]]] = {
    "UserService/RegisterUser": _BY_GATEWAY,
    "UserService/AuthenticateUser": {**_BY_GATEWAY, **_BY_CODEC_SERVER},
    "UserService/RefreshToken": _BY_GATEWAY,
    "UserService/RevokeToken": {**_BY_GATEWAY, **_BY_CODEC_SERVER},
    "UserService/GetUser": {**_FOR_USERS, **_BY_ORDER, **_BY_NOTIFICATION, **_BY_OPERATORS},
    "UserService/ListUsers": {**_FOR_STAFF, **_BY_OPERATORS},
    "UserService/ChangeUser": {**_FOR_ADMINS, **_BY_OPERATORS},
    "UserService/ListSessions": {**_FOR_USERS, **_BY_OPERATORS},
    "UserService/EndSession": {**_FOR_USERS, **_BY_OPERATORS},
    "UserService/EndSessions": {**_FOR_USERS, **_BY_OPERATORS},
    "UserService/RequestConfirmation": _FOR_USERS,
    "UserService/ConfirmEmail": _BY_GATEWAY,
    "UserService/RequestPasswordReset": _BY_GATEWAY,
    "UserService/ResetPassword": _BY_GATEWAY,
    "UserService/ChangePassword": _FOR_USERS,
    "UserService/ChangeEmail": _FOR_USERS,
    "UserService/IssueLink": _BY_NOTIFICATION,
    "UserService/GetReplacedEmail": _BY_NOTIFICATION,
    "UserService/EraseUser": {**_FOR_USERS, **_BY_OPERATORS},
    "UserService/IssueGuestToken": _BY_ORDER,
    "UserService/FindConfirmedUser": _BY_ORDER,
    "UserService/ListEndedSessions": _BY_WHO_VERIFIES,
    "ProductService/CreateProduct": _FOR_ADMINS,
    "ProductService/GetProduct": {**_FOR_ALL, **_BY_NOTIFICATION},
    "ProductService/UpdateProduct": _FOR_ADMINS,
    "ProductService/DeleteProduct": _FOR_ADMINS,
    "ProductService/ListProducts": _FOR_ALL,
    "ProductService/Quote": _BY_WORKER,
    "InventoryService/GetStock": _FOR_ADMINS,
    "InventoryService/AdjustStock": _FOR_ADMINS,
    "InventoryService/Reserve": _BY_WORKER,
    "InventoryService/Release": _BY_WORKER,
    "InventoryService/Commit": _BY_WORKER,
    "InventoryService/Restock": _BY_WORKER,
    "OrderService/CreateOrder": _FOR_USERS,
    "OrderService/CreateGuestOrder": _BY_GATEWAY,
    "OrderService/CreateOrderOnBehalf": _FOR_ADMINS,
    "OrderService/RequestGuestLink": _BY_GATEWAY,
    "OrderService/GetGuest": _BY_NOTIFICATION,
    "OrderService/AdoptGuestOrders": {Part.USER: [ITSELF]},
    "OrderService/EraseGuest": {Part.GATEWAY: [GUEST, SUPPORT, ADMIN]},
    "OrderService/GetOrder": {**_FOR_READERS, **_BY_WORKER, **_BY_OPERATORS},
    "OrderService/ListOrders": _FOR_USERS,
    "OrderService/CancelOrder": {**_FOR_READERS, **_BY_OPERATORS},
    "OrderService/EraseCustomer": {Part.USER: [ITSELF]},
    "OrderService/ListTransitions": _FOR_READERS,
    "OrderService/AwaitMoves": _BY_GATEWAY,
    "OrderService/MarkPending": _BY_WORKER,
    "OrderService/MarkClosed": _BY_WORKER,
    "OrderService/MarkRefunded": _BY_WORKER,
    "OrderService/RaiseAttention": _BY_WORKER,
    "OrderService/ClearAttention": _BY_WORKER,
    "OrderService/ReportMissingSaga": {Part.PAYMENT: [ITSELF]},
    "OrderService/ListAttention": _BY_OPERATORS,
    "OrderService/Retry": _BY_OPERATORS,
    "OrderService/Resolve": _BY_OPERATORS,
    "OrderService/RepairOrder": _BY_OPERATORS,
    "PaymentService/CheckAmount": _BY_WORKER,
    "PaymentService/OpenPayment": _BY_WORKER,
    "PaymentService/CheckPayment": {**_BY_WORKER, **_BY_ORDER},
    "PaymentService/ClosePayment": _BY_WORKER,
    "PaymentService/VoidPayment": _BY_WORKER,
    "PaymentService/GetPayment": _FOR_USERS,
    "PaymentService/GetPaymentOfOrder": _FOR_READERS,
    "PaymentService/AdoptPayment": _BY_ORDER,
    "PaymentService/RequestRefund": {**_FOR_STAFF, **_BY_OPERATORS},
    "PaymentService/ApproveRefund": {**_FOR_ADMINS, **_BY_OPERATORS},
    "PaymentService/ListRefunds": _FOR_READERS,
    "PaymentService/CarryOutRefund": _BY_WORKER,
    "PaymentService/ReplaceRefund": _BY_WORKER,
    "PaymentService/ResolveRefund": _BY_WORKER,
    "PaymentService/CloseRefund": _BY_WORKER,
    "PaymentService/CheckDispute": _BY_WORKER,
    "PaymentService/CloseDispute": _BY_WORKER,
    "PaymentService/ReceiveWebhook": _BY_GATEWAY,
    "PaymentService/ListOpenCases": _BY_ORDER,
    "PaymentService/RetryEvent": _BY_ORDER,
    "PaymentService/DismissEvent": _BY_ORDER,
    "NotificationService/SendEmail": _FOR_ADMINS,
    "NotificationService/SendSms": _FOR_ADMINS,
    "NotificationService/RetryNotification": _BY_ORDER,
    "NotificationService/DismissNotification": _BY_ORDER,
    "NotificationService/SendGuestLink": _BY_ORDER,
    "NotificationService/EraseUser": {Part.USER: [ITSELF]},
    "NotificationService/ListDeadLetters": _BY_OPERATORS,
    "NotificationService/GetDeadLetter": _BY_OPERATORS,
    "NotificationService/RetryDeadLetter": _BY_OPERATORS,
    "NotificationService/ResolveDeadLetter": _BY_OPERATORS,
    "OnCallService/ListConcerns": {**_BY_ORDER, **_BY_OPERATORS},
    "OnCallService/DescribeOrder": {**_FOR_READERS, **_BY_OPERATORS},
}

DEADLINE: Final = 20
REFUSED: Final = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
NO_PROTOBUF: Final = b"\xff"
"""Whoever is let in hears that this is no message: nothing behind the door is needed, or touched."""
FORGED_METADATA: Final = (("x-caller-role", "service"), ("x-caller-id", new_id()))
"""What once made anybody a service."""


def service_of(pb: Any, servicer: type[Any], add: Any) -> GrpcService:
    """The service as it is served, with nothing behind it."""
    [descriptor] = pb.DESCRIPTOR.services_by_name.values()
    return GrpcService(descriptor, object.__new__(servicer), add)


SERVICES: Final = (
    service_of(user_pb2, UserServicer, add_UserServiceServicer_to_server),
    service_of(product_pb2, ProductServicer, add_ProductServiceServicer_to_server),
    service_of(inventory_pb2, InventoryServicer, add_InventoryServiceServicer_to_server),
    service_of(order_pb2, OrderServicer, add_OrderServiceServicer_to_server),
    service_of(payment_pb2, PaymentServicer, add_PaymentServiceServicer_to_server),
    service_of(notification_pb2, NotificationServicer, add_NotificationServiceServicer_to_server),
)
ON_CALL: Final = service_of(on_call_pb2, OnCallServicer, add_OnCallServiceServicer_to_server)
"""Served by every part beside its own service; asked of one here."""
METHODS: Final = [
    *(
        (service.part, f"/{service.descriptor.full_name}/{method.name}")
        for service in SERVICES
        for method in service.descriptor.methods
    ),
    *((Part.PRODUCT, f"/{ON_CALL.descriptor.full_name}/{method.name}") for method in ON_CALL.descriptor.methods),
]


def short(path: str) -> str:
    return path.rpartition(".")[2]


@dataclass(frozen=True)
class Servers:
    """All services, each on a server of its own."""

    addresses: Mapping[Part, str]

    async def code(
        self, channel: grpc.aio.Channel, path: str, metadata: Sequence[tuple[str, str]] = ()
    ) -> grpc.StatusCode:
        """How the call of a method with such a body ends."""
        method = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        try:
            await method(NO_PROTOBUF, timeout=DEADLINE, metadata=(*FORGED_METADATA, *metadata))
        except grpc.aio.AioRpcError as error:
            return error.code()
        raise AssertionError(f"{path} took what is no message")


@pytest_asyncio.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(
            {service.part: await stack.enter_async_context(serving(service, ON_CALL)) for service in SERVICES}
        )


def tokens() -> Mapping[str, str]:
    """Every kind of token, by whose it is."""
    expired = sign(Caller(ADMIN, new_id()), ttl=-60)
    return {
        GUEST: sign(Caller(GUEST, new_id(), order_id=new_id())),
        CUSTOMER: sign(Caller(CUSTOMER, new_id())),
        SUPPORT: sign(Caller(SUPPORT, new_id())),
        ADMIN: sign(Caller(ADMIN, new_id())),
        "expired": expired,
        "forged": forged_bearer()["Authorization"].removeprefix("Bearer "),
        "nonsense": "a.b.c",
    }


def bearing(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def certificate_of(kind: str, part: Part) -> tuple[bytes | None, bytes | None]:
    match kind:
        case "another CA's":
            return CertificateAuthority().issue(part)
        case "expired":
            return authority().issue(part, life=-timedelta(days=1))
        case "for nobody of ours":
            return authority().issue(part, uri="spiffe://ordersaga/everything")
        case _:
            return None, None


def test_the_table_has_every_method() -> None:
    assert {short(path) for _, path in METHODS} == set(ALLOWED)


@pytest.mark.parametrize("caller", Part)
async def test_a_part_is_let_in_where_the_table_says_and_nowhere_else(servers: Servers, caller: Part) -> None:
    let_in: dict[str, list[str]] = {}
    for part, path in METHODS:
        async with open_channel(part, servers.addresses[part], credentials(caller)) as channel:
            answers: dict[str, grpc.StatusCode] = {VISITOR: await servers.code(channel, path)}
            for whose, token in tokens().items():
                answers[whose] = await servers.code(channel, path, bearing(token))
        assert set(answers.values()) <= {grpc.StatusCode.INVALID_ARGUMENT, *REFUSED}
        let_in[short(path)] = [whose for whose, code in answers.items() if code is grpc.StatusCode.INVALID_ARGUMENT]

    everybody = [VISITOR, *tokens()]  # whose token comes with what a part does itself is not asked
    assert let_in == {
        name: everybody if (roles := allowed.get(caller, [])) == [ITSELF] else list(roles)
        for name, allowed in ALLOWED.items()
    }


@pytest.mark.parametrize("kind", ["none", "another CA's", "expired", "for nobody of ours"])
@pytest.mark.parametrize("caller", Part)
async def test_no_certificate_of_another_kind_is_let_in(servers: Servers, caller: Part, kind: str) -> None:
    certificate, key = certificate_of(kind, caller)
    refused_by_name = kind == "for nobody of ours"
    shown = grpc.ssl_channel_credentials(authority().pem, key, certificate)
    for service in SERVICES:
        options = [("grpc.ssl_target_name_override", service.part.server_name)]
        async with grpc.aio.secure_channel(servers.addresses[service.part], shown, options) as channel:
            for part, path in METHODS:
                if part is service.part:
                    code = await servers.code(channel, path, bearing(tokens()[ADMIN]))
                    wanted = grpc.StatusCode.PERMISSION_DENIED if refused_by_name else grpc.StatusCode.UNAVAILABLE
                    assert code is wanted, path


async def test_nothing_is_answered_without_tls(servers: Servers) -> None:
    for part, path in METHODS:
        async with grpc.aio.insecure_channel(servers.addresses[part]) as channel:
            assert await servers.code(channel, path, bearing(tokens()[ADMIN])) is grpc.StatusCode.UNAVAILABLE


async def test_a_caller_does_not_talk_to_another_part_than_it_means(servers: Servers) -> None:
    path = "/ordersaga.product.v1.ProductService/ListProducts"
    async with open_channel(Part.PRODUCT, servers.addresses[Part.USER], credentials(Part.GATEWAY)) as channel:
        assert await servers.code(channel, path) is grpc.StatusCode.UNAVAILABLE


def test_a_method_that_declares_nothing_keeps_its_server_from_starting() -> None:
    class Undeclared(ProductServicer):
        async def Quote(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's
            raise NotImplementedError

    service = service_of(product_pb2, Undeclared, add_ProductServiceServicer_to_server)

    with pytest.raises(UndeclaredMethod, match=r"ProductService\.Quote"):
        Permissions([(service.descriptor, service.servicer)], VERIFIER)
    assert issubclass(ProductServicer, ProductServiceServicer)


def test_a_method_that_streams_keeps_its_server_from_starting() -> None:
    class Watched:
        @allow(Part.GATEWAY)
        async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's
            """Answers once."""

        List = Check

        @allow(Part.GATEWAY)
        async def Watch(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's
            """Answers again and again."""

    health: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
    with pytest.raises(UndeclaredMethod, match=r"Health\.Watch streams"):
        Permissions([(health, Watched())], VERIFIER)
