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
    "/ordersaga.product.v1.ProductService/GetProduct": Part.NOTIFICATION,
}
"""Which part calls these for no user; every other method is the order worker's then."""
_for_a_visitor: ContextVar[bool] = ContextVar("for_a_visitor", default=False)


def calling_part(path: str, metadata: Any) -> Part:
    """The part that makes such a call in production."""
    if _for_a_visitor.get() or any(key == AUTHORIZATION for key, _ in metadata or ()):
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
    visitor = _for_a_visitor.set(caller.role is CallerRole.ANONYMOUS)
    try:
        return await rpc_client.call(method, request, caller=signed_in(caller), deadline=deadline)
    finally:
        _for_a_visitor.reset(visitor)


def make_server(service: GrpcService, *beside: GrpcService, grace: float = 1) -> RpcServer:
    """A server on a free port, which listens once it is entered; other services may be served beside the part's own."""
    return RpcServer(
        "127.0.0.1:0", [service, *beside], credentials=credentials(service.part), verifier=VERIFIER, grace=grace
    )


@asynccontextmanager
async def serving(service: GrpcService, *beside: GrpcService) -> AsyncIterator[str]:
    """Serve while the context is open; host:port."""
    async with make_server(service, *beside) as server:
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
            for caller in (Part.GATEWAY, Part.ORDER_WORKER, Part.NOTIFICATION)
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
