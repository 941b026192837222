"""What goes along with a gRPC call besides its message: the id of the client's request, and the trace.

Spans are those of https://opentelemetry.io/docs/specs/semconv/rpc/grpc/; health and reflection have none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import grpc.aio
from opentelemetry.semconv._incubating.attributes.rpc_attributes import (
    RPC_METHOD,
    RPC_RESPONSE_STATUS_CODE,
    RPC_SYSTEM_NAME,
)
from opentelemetry.semconv._incubating.attributes.service_attributes import SERVICE_PEER_NAME
from opentelemetry.trace import Span, SpanKind

from runtime import tracing
from runtime.work_context import REQUEST_ID_HEADER, request_id

Handler = Callable[[Any, Any], Awaitable[Any]]
Metadata = tuple[tuple[str, str], ...]

_OURS: Final = "/ordersaga."
_GRPC: Final = "grpc"
_SERVER_ERRORS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"})
"""What is the server's fault, and no answer that it meant to give."""


@contextmanager
def calling(method: object) -> Iterator[Metadata]:
    """What is around a call of `method`, as a generated stub has it; gives the metadata to be sent along."""
    requested: Metadata = ((REQUEST_ID_HEADER, known),) if (known := request_id.get()) else ()
    if not tracing.is_on():
        yield requested
        return
    path, part = str(getattr(method, "path", "")).removeprefix("/"), getattr(method, "part", "")
    attributes = {RPC_SYSTEM_NAME: _GRPC, RPC_METHOD: path, SERVICE_PEER_NAME: part}
    with tracing.span(path, SpanKind.CLIENT, attributes=attributes, errors=False) as span:
        code = grpc.StatusCode.OK
        try:
            yield (*requested, *tracing.carrier().items())
        except grpc.aio.AioRpcError as error:
            code = error.code()
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            _note_status(span, code, is_error=code is not grpc.StatusCode.OK)


def called(handler: Handler, method: str) -> Handler:
    """The handler of a unary call, with what came along with the call as its context."""
    if not method.startswith(_OURS):
        return handler
    name = method.removeprefix("/")
    attributes = {RPC_SYSTEM_NAME: _GRPC, RPC_METHOD: name}

    async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        metadata = _texts(context.invocation_metadata() or ())
        request_id.set(metadata.get(REQUEST_ID_HEADER, ""))
        if not tracing.is_on():
            return await handler(request, context)
        with tracing.span(name, SpanKind.SERVER, parent=metadata, attributes=attributes, errors=False) as span:
            code = grpc.StatusCode.OK
            try:
                return await handler(request, context)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.AbortError:
                code = _status(context.code())
                raise
            finally:
                _note_status(span, code, is_error=code.name in _SERVER_ERRORS)

    return handle


def _note_status(span: Span, code: grpc.StatusCode, *, is_error: bool) -> None:
    span.set_attribute(RPC_RESPONSE_STATUS_CODE, code.name)
    if is_error:
        tracing.fail(span, code.name)


def _status(code: object) -> grpc.StatusCode:
    """gRPC's Cython gives a number or the status, by who has set it."""
    if isinstance(code, grpc.StatusCode):
        return code
    return next((status for status in grpc.StatusCode if status.value[0] == code), grpc.StatusCode.UNKNOWN)


def _texts(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}
