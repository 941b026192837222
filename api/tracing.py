"""What each request has: an id, which its answer and every line of the log about it say, and a span.

Spans are those of https://opentelemetry.io/docs/specs/semconv/http/http-spans/. They name neither the client's address
nor what stands in the query, a header or a body.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.semconv.attributes.http_attributes import (
    HTTP_REQUEST_METHOD,
    HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE,
)
from opentelemetry.semconv.attributes.url_attributes import URL_PATH, URL_SCHEME
from opentelemetry.trace import Span, SpanKind

from runtime import tracing
from runtime.work_context import REQUEST_ID_HEADER, choose_request_id, request_id

_CONTEXT_HEADERS: Final = ("traceparent", "tracestate")


class Tracing(ASGIMiddleware):
    """Gives each request its id and its span.

    Args:
        joins_clients: whether it goes on with the trace that the client names; else it is linked with that.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, *, joins_clients: bool) -> None:
        self._joins_clients = joins_clients

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        headers = dict(scope["headers"])
        known = choose_request_id(headers.get(REQUEST_ID_HEADER.encode(), b"").decode("latin-1"))
        request_id.set(known)
        with self._span(scope, headers) as span:
            tracing.note_order(_PathParameters(scope))

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableScopeHeaders(message).setdefault(REQUEST_ID_HEADER, known)
                    _note_status(span, message["status"])
                await send(message)

            await next_app(scope, receive, note)

    def _span(self, scope: Scope, headers: dict[bytes, bytes]) -> tracing.SpanAround:
        if not tracing.is_on():
            return tracing.span("")
        method, route = str(scope.get("method")), scope["path_template"]
        context = {name: found.decode("latin-1") for name in _CONTEXT_HEADERS if (found := headers.get(name.encode()))}
        return tracing.span(
            f"{method} {route}",
            SpanKind.SERVER,
            parent=context if self._joins_clients else {},
            links=() if self._joins_clients else (context.get(tracing.TRACEPARENT),),
            attributes={
                HTTP_REQUEST_METHOD: method,
                HTTP_ROUTE: route,
                URL_PATH: scope["path"],
                URL_SCHEME: scope["scheme"],
            },
        )


class _PathParameters:
    """What of a path says at which order is worked."""

    def __init__(self, scope: Scope) -> None:
        self.order_id = scope.get("path_params", {}).get("order_id")


def _note_status(span: Span, status: int) -> None:
    span.set_attribute(HTTP_RESPONSE_STATUS_CODE, status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        tracing.fail(span, str(status))
