"""gRPC without a network: generated stubs on one side, a servicer on the other, in the same task of the same process.

Messages are serialised and read again, the servicer runs behind the interceptor of every server of ours, which lets in
whoever may call, and its
refusals come back as the errors of a call, so that whoever calls and whoever is called run the code that they run in
production. There is no deadline: a handler that takes too long is a matter of real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

import grpc
import grpc.aio

from runtime.identity import Part
from runtime.permissions import Permissions
from runtime.rpc_server import MOST_CALLS, CallInterceptor, GrpcService, Handler
from tests.support.identities import VERIFIER
from tests.support.rpc import calling_part

Metadata = Sequence[tuple[str, str | bytes]]


class DirectChannel:
    """A channel for a stub, and a server for the function that adds a servicer; as much of both as these use.

    A call fails as one over a network does: with `grpc.aio.AioRpcError`.
    """

    def __init__(self, service: GrpcService, *, most_calls: int = MOST_CALLS) -> None:
        permissions = Permissions([(service.descriptor, service.servicer)], VERIFIER)
        self._interceptor = CallInterceptor(permissions, most_calls=most_calls)
        self._methods: dict[str, tuple[Handler, Callable[[Any], bytes]]] = {}
        service.add(service.servicer, cast("grpc.aio.Server", self))

    # What a servicer is added to

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignored: the same methods are registered one by one."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Serve these methods."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            write = handler.response_serializer
            assert write is not None
            handle = self._interceptor.wrap(handler.unary_unary, method, handler.request_deserializer)
            self._methods[method] = handle, write

    # What a stub is made of

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: object,
    ) -> Callable[..., Any]:
        """One method of a stub."""

        async def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:  # noqa: ASYNC109
            handle, write = self._methods[method]
            context = _Context(calling_part(method, metadata), timeout, metadata)
            # In a task, because what the server says of its caller is not to reach the caller's own context.
            response = await asyncio.create_task(_answer(handle, request_serializer(request), context))
            return response_deserializer(write(response))

        return call


async def _answer(handle: Handler, body: bytes, context: _Context) -> Any:
    return await handle(body, context)


class _Context:
    """What the interceptor asks of a `grpc.aio.ServicerContext`."""

    def __init__(self, part: Part, timeout: float | None, metadata: Metadata) -> None:
        self._part = part
        self._timeout = timeout
        self._metadata = metadata

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return {"peer_spiffe_id": [self._part.spiffe_id.encode()]}

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._timeout

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        trailing = grpc.aio.Metadata(*trailing_metadata)
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=details)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())
