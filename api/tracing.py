"""What each request has: an id, which its answer and every line of the log about it say, and a span.

Spans are those of https://opentelemetry.io/docs/specs/semconv/http/http-spans/. They name neither the client's address
nor what stands in the query, a header or a body.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from litestar.datastructures import MutableScopeHeaders
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

_CONTEXT_HEADERS: Final = (tracing.TRACEPARENT, "tracestate")
_ORDER: Final = re.compile(r"/orders/([^/]+)")


def traced(app: ASGIApp, *, joins_clients: bool) -> ASGIApp:
    """The application, each of whose requests has an id and a span: also those that lead nowhere.

    Args:
        app: answers them; it notes the route in the scope.
        joins_clients: whether a request goes on with the trace that its client names; else it is linked with that.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        known = choose_request_id(headers.get(REQUEST_ID_HEADER, ""))
        request_id.set(known)
        with _span(scope, headers, joins_clients=joins_clients) as span:
            if (order := _ORDER.search(scope["path"])) is not None:
                tracing.note_order(order[1])

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableScopeHeaders(message).setdefault(REQUEST_ID_HEADER, known)
                    if span.is_recording():
                        _note_answer(span, scope, message["status"])
                await send(message)

            await app(scope, receive, note)

    return handle


def _span(scope: Scope, headers: dict[str, str], *, joins_clients: bool) -> tracing.SpanAround:
    if not tracing.is_on():
        return tracing.span("off")
    method = _method(scope)
    context: dict[str, str] = {name: headers[name] for name in _CONTEXT_HEADERS if name in headers}
    return tracing.span(
        method,
        SpanKind.SERVER,
        parent=context if joins_clients else {},
        links=() if joins_clients else (context.get(tracing.TRACEPARENT),),
        attributes={HTTP_REQUEST_METHOD: method, URL_PATH: scope["path"], URL_SCHEME: scope["scheme"]},
    )


def _note_answer(span: Span, scope: Scope, status: int) -> None:
    route: Any = scope.get("path_template")  # none, where the request led nowhere
    if route:
        span.update_name(f"{_method(scope)} {route}")
        span.set_attribute(HTTP_ROUTE, route)
    span.set_attribute(HTTP_RESPONSE_STATUS_CODE, status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        tracing.fail(span, str(status))


def _method(scope: Scope) -> str:
    return str(scope.get("method"))
