"""HEAD and OPTIONS of every route, and an `Allow` that has all of its methods (RFC 9110, sections 9.3.2 and 10.2.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
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
        answered = asyncio.Event() if is_head else None

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "path_template" in routed:
                    scope["path_template"] = routed["path_template"]
                if message["status"] == _NOT_ALLOWED or scope["method"] == "OPTIONS":
                    _name_methods(MutableScopeHeaders(message), scope, allowed)
            elif answered is not None:
                return  # it has ended
            await send(message)
            if answered is not None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered.set()

        await app(routed, receive if answered is None else _until(answered), answer)

    return handle


def _until(answered: asyncio.Event) -> Receive:
    """Of a HEAD, whose body nobody reads: its client goes once it is answered, so that a stream it is of ends."""

    async def receive() -> HTTPReceiveMessage:
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
