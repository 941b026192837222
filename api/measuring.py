"""How long the gateway's requests take, by route, and whose clients went away."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from runtime.deadline import set_time_left
from runtime.metrics import HTTP_SECONDS

_HUNG_UP: Final = "has_hung_up"


def has_hung_up(scope: Scope) -> bool:
    """Whether the client has gone, so that what failed for want of its body is not our defect."""
    return bool(scope["state"].get(_HUNG_UP))


def measured(app: ASGIApp) -> ASGIApp:
    """The application, which notes each request with its route and status; 500 for one that broke."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        set_time_left(None)  # what is called for this request is counted for it
        began, status = perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def listen() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                scope["state"][_HUNG_UP] = True
            return message

        try:
            await app(scope, listen, note)
        finally:
            HTTP_SECONDS.labels(scope["method"], scope["path_template"], status).observe(perf_counter() - began)

    return handle
