"""How long the gateway's requests take, by route."""

from __future__ import annotations

from time import perf_counter

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from runtime.metrics import HTTP_SECONDS


def measured(app: ASGIApp) -> ASGIApp:
    """The application, which notes each request with its route and status; 500 for one that broke."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began, status = perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, note)
        finally:
            HTTP_SECONDS.labels(scope["method"], scope["path_template"], status).observe(perf_counter() - began)

    return handle
