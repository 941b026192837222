"""HEAD and OPTIONS of every route, and an `Allow` that has all of its methods (RFC 9110, sections 9.3.2 and 10.2.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.routes import BaseRoute
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

_ALLOW: Final = "Allow"
_NOT_ALLOWED: Final = 405


def with_all_methods(app: ASGIApp, routes: Iterable[BaseRoute]) -> ASGIApp:
    """The application, which answers HEAD as GET, without its body, and names all methods of a route.

    Args:
        app: the router.
        routes: its routes; of each path one that has all of its methods.
    """
    allowed = _methods(routes)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        # a copy: the server has to know the method still, and lets no answer to HEAD have a body
        routed = cast("Scope", {**scope, "method": "GET"}) if is_head else scope
        answered = asyncio.Event()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "path_template" in routed:
                    scope["path_template"] = routed["path_template"]
                if message["status"] == _NOT_ALLOWED or scope["method"] == "OPTIONS":
                    _name_methods(MutableScopeHeaders(message), scope, allowed)
            elif is_head:
                return  # it has ended
            await send(message)
            if is_head:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered.set()

        await app(routed, _until(answered) if is_head else receive, answer)

    return handle


def _until(answered: asyncio.Event) -> Receive:
    """A request without a body, whose client goes once it is answered: so a stream ends that HEAD is of."""
    messages: Iterator[HTTPReceiveMessage] = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> HTTPReceiveMessage:
        if (message := next(messages, None)) is not None:
            return message
        await answered.wait()
        return {"type": "http.disconnect"}

    return receive


def _methods(routes: Iterable[BaseRoute]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for route in routes:
        found.setdefault(route.path_format, set()).update(route.methods)
    return {path: frozenset(methods) for path, methods in found.items()}


def _name_methods(headers: MutableScopeHeaders, scope: Scope, allowed: Mapping[str, frozenset[str]]) -> None:
    if _ALLOW not in headers:
        return
    methods = set(allowed.get(str(scope.get("path_template")), ())) or {
        method.strip() for method in headers[_ALLOW].split(",")
    }
    if "GET" in methods:
        methods.add("HEAD")
    headers[_ALLOW] = ", ".join(sorted(methods))
