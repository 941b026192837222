"""Pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol): those that the settings name, exactly.

Tokens travel in a header that a page has to set by itself; nothing here is done by cookies, so none are allowed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SENT: Final = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer"),
    *("Traceparent", "Tracestate", "X-Request-Id"),
)
"""Headers that a page may send."""
SHOWN: Final = (
    *("ETag", "Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Policy", "Retry-After"),
    *("WWW-Authenticate", "X-Request-Id"),
)
"""Headers of answers that a page may read, besides those that it always may."""
_ASKED_AGAIN: Final = 600
"""Seconds for which a browser remembers what it was allowed."""


def shared_with(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The application, which pages of these origins may call; without any, nothing changes."""
    if not origins:
        return app
    allowed = frozenset(origins)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        headers = Headers.from_scope(scope)
        origin = headers.get("origin", "")
        if origin in allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _allow(origin, send)
            return

        async def show(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableScopeHeaders(message)
                answer.add("Vary", "Origin")  # so that no cache gives the answer for one origin to another
                if origin in allowed:
                    answer["Access-Control-Allow-Origin"] = origin
                    answer["Access-Control-Expose-Headers"] = ", ".join(SHOWN)
            await send(message)

        await app(scope, receive, show)

    return handle


async def _allow(origin: str, send: Send) -> None:
    """Answer a browser that asks before it sends a request of a page."""
    headers = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": ", ".join(METHODS),
        "access-control-allow-headers": ", ".join(SENT),
        "access-control-max-age": str(_ASKED_AGAIN),
        "vary": "Origin",
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 204, "headers": encoded})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
