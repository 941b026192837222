"""Services of ours on real gRPC servers, each call made by the part that makes it in production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import grpc.aio

from runtime import rpc_client
from runtime.caller import AUTHORIZATION, Caller, CallerRole
from runtime.identity import Part
from runtime.rpc_client import open_channel
from runtime.rpc_server import GrpcService, RpcServer
from tests.support.identities import VERIFIER, credentials, signed_in

Request = TypeVar("Request")
Response = TypeVar("Response")

DEADLINE: Final = 10.0
_CALL_AS_THEMSELVES: Final[Mapping[str, Part]] = {
    "/ordersaga.user.v1.UserService/GetUser": Part.NOTIFICATION,
    "/ordersaga.user.v1.UserService/IssueLink": Part.NOTIFICATION,
    "/ordersaga.user.v1.UserService/GetReplacedEmail": Part.NOTIFICATION,
    "/ordersaga.order.v1.OrderService/EraseCustomer": Part.USER,
    "/ordersaga.notification.v1.NotificationService/EraseUser": Part.USER,
    "/ordersaga.user.v1.UserService/IssueGuestToken": Part.ORDER,
    "/ordersaga.user.v1.UserService/FindConfirmedUser": Part.ORDER,
    "/ordersaga.order.v1.OrderService/CreateGuestOrder": Part.GATEWAY,
    "/ordersaga.order.v1.OrderService/RequestGuestLink": Part.GATEWAY,
    "/ordersaga.order.v1.OrderService/GetGuest": Part.NOTIFICATION,
    "/ordersaga.order.v1.OrderService/AdoptGuestOrders": Part.USER,
    "/ordersaga.payment.v1.PaymentService/AdoptPayment": Part.ORDER,
    "/ordersaga.notification.v1.NotificationService/SendGuestLink": Part.ORDER,
    "/ordersaga.user.v1.UserService/ListEndedSessions": Part.PRODUCT,
    "/ordersaga.product.v1.ProductService/GetProduct": Part.NOTIFICATION,
    "/ordersaga.order.v1.OrderService/ReportMissingSaga": Part.PAYMENT,
    "/ordersaga.payment.v1.PaymentService/ListOpenCases": Part.ORDER,
    "/ordersaga.payment.v1.PaymentService/RetryEvent": Part.ORDER,
    "/ordersaga.payment.v1.PaymentService/DismissEvent": Part.ORDER,
    "/ordersaga.notification.v1.NotificationService/RetryNotification": Part.ORDER,
    "/ordersaga.notification.v1.NotificationService/DismissNotification": Part.ORDER,
    "/ordersaga.oncall.v1.OnCallService/ListConcerns": Part.ORDER,
    "/ordersaga.limits.v1.LimitsService/TakePermits": Part.GATEWAY,
    "/ordersaga.limits.v1.LimitsService/AddExemption": Part.GATEWAY,
}
"""Which part calls these for no user; every other method is the order worker's then."""
_BY_PERSON: Final = {CallerRole.ANONYMOUS: Part.GATEWAY, CallerRole.OPERATOR: Part.OPERATOR}
"""Who makes the calls of people without a token."""
_person: ContextVar[CallerRole | None] = ContextVar("person", default=None)


def calling_part(path: str, metadata: Any) -> Part:
    """The part that makes such a call in production."""
    if (role := _person.get()) is not None:
        return _BY_PERSON[role]
    if any(key == AUTHORIZATION for key, _ in metadata or ()):
        return Part.GATEWAY
    return _CALL_AS_THEMSELVES.get(path, Part.ORDER_WORKER)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    caller: Caller,
    deadline: float = DEADLINE,
) -> Response:
    """Call as `runtime.rpc_client.call` does, users with a token; see there for what it raises."""
    person = _person.set(caller.role if caller.role in _BY_PERSON else None)
    try:
        return await rpc_client.call(method, request, caller=signed_in(caller), deadline=deadline)
    finally:
        _person.reset(person)


def make_server(service: GrpcService, *beside: GrpcService, grace: float = 1, port: int = 0) -> RpcServer:
    """A server on a free port, or on this one, which listens once it is entered.

    Other services may be served beside the part's own.
    """
    services = [service, *beside]
    return RpcServer(
        f"127.0.0.1:{port}", services, credentials=credentials(service.part), verifier=VERIFIER, grace=grace
    )


@asynccontextmanager
async def serving(service: GrpcService, *beside: GrpcService, port: int = 0) -> AsyncIterator[str]:
    """Serve while the context is open; host:port."""
    async with make_server(service, *beside, port=port) as server:
        yield f"127.0.0.1:{server.port}"


@asynccontextmanager
async def channel_to(service: GrpcService) -> AsyncIterator[grpc.aio.Channel]:
    """Serve while the context is open, with a channel for whoever calls."""
    async with serving(service) as address, open_callers(service.part, address) as channel:
        yield channel


@asynccontextmanager
async def open_callers(part: Part, address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the part over which each call is made by the part that makes it in production."""
    async with AsyncExitStack() as stack:
        channels = {
            caller: await stack.enter_async_context(open_channel(part, address, credentials(caller)))
            for caller in {Part.ORDER_WORKER, *_BY_PERSON.values(), *_CALL_AS_THEMSELVES.values()}
        }
        yield cast("grpc.aio.Channel", _Callers(part, channels))


class _Callers:
    """As much of a channel as a generated stub uses."""

    def __init__(self, part: Part, channels: Mapping[Part, grpc.aio.Channel]) -> None:
        self._part = part
        self._channels = channels

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Any:
        methods = {part: channel.unary_unary(path, *arguments, **options) for part, channel in self._channels.items()}

        def method(request: Any, *, timeout: float | None = None, metadata: Any = None) -> Any:
            return methods[calling_part(path, metadata)](request, timeout=timeout, metadata=metadata)

        setattr(method, "part", self._part)  # noqa: B010 - a function's own attribute, which types do not know
        return method
