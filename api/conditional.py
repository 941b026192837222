"""Reads of what the client has already: 304 in place of an answer with an entity tag (RFC 9110, section 13.1.2).

Whatever answers a GET with an `ETag` needs no more than that, and its description no more than to declare the header.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from litestar.datastructures import Headers, MutableScopeHeaders, ResponseHeader
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.etags import is_known

_OF_THE_BODY: Final = ("content-length", "content-type")
CONTENT_ETAG: Final = ResponseHeader(
    name="ETag", documentation_only=True, description="Changes with whatever of the answer does."
)
SHARED: Final = "public, max-age=10, no-transform"
"""How a product is cached. Not transformed: a proxy that compresses it makes its tag weak, and a weak tag never fits
If-Match. Ten seconds: an order is made at today's price, whatever a page shows."""
UNSHARED: Final = "no-store, no-transform"
"""How the answer to a change is cached whose tag the next change will name."""
_PARAMETER: Final[dict[str, Any]] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "An `ETag` that was read before: 304, without a body, as long as nothing has changed.",
    "schema": {"type": "string"},
}


def conditional(app: ASGIApp) -> ASGIApp:
    """The application, which says of what its client has already that nothing has changed."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        known = _asked(scope)
        if known is None:
            await app(scope, receive, send)
            return
        unchanged = False

        async def answer(message: Message) -> None:
            nonlocal unchanged
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.OK:
                headers = MutableScopeHeaders(message)
                unchanged = is_known(headers.get("etag", ""), known)
                if unchanged:
                    message["status"] = HTTPStatus.NOT_MODIFIED
                    for name in _OF_THE_BODY:
                        headers.pop(name, None)
            elif message["type"] == "http.response.body" and unchanged:
                message["body"] = b""
            await send(message)

        await app(scope, receive, answer)

    return handle


def _asked(scope: Scope) -> str | None:
    """The entity tags that a read names as known."""
    if scope["type"] != ScopeType.HTTP or scope["method"] not in ("GET", "HEAD"):
        return None
    return Headers.from_scope(scope).get("if-none-match")


def describe_conditionals(document: dict[str, Any]) -> None:
    """Add to each read that declares an `ETag` how it is asked whether anything has changed."""
    for path in document["paths"].values():
        read = path.get("get")
        if read is not None and "ETag" in read["responses"]["200"].get("headers", {}):
            read.setdefault("parameters", []).append(_PARAMETER)
            tag = {"ETag": read["responses"]["200"]["headers"]["ETag"]}
            read["responses"]["304"] = {"description": "Nothing has changed.", "headers": tag}
