"""Headers that keep a browser from doing with an answer what it is not for; every answer has them.

https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
"""

from __future__ import annotations

from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""An answer of the API is no page: nothing is loaded or run for it, and nobody frames it."""
PAGE_POLICY: Final = f"{_NOTHING}; connect-src 'self'; img-src 'self' data:; script-src 'self'; style-src 'self'"
"""A page of ours has its scripts from here; no text that got into it can be one."""
_FEATURES: Final = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
PERSONAL: Final = "no-store"
"""How an answer is cached that says nothing of it: it may be somebody's own."""


def security_headers(*, hsts_max_age: int) -> dict[str, str]:
    """The headers of every answer.

    Args:
        hsts_max_age: seconds for which a browser is to come by TLS alone (RFC 6797); 0 for as it likes.
    """
    headers = {
        "cache-control": PERSONAL,
        "content-security-policy": _NOTHING,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    if hsts_max_age:
        headers["strict-transport-security"] = f"max-age={hsts_max_age}"
    return headers


def guarded(app: ASGIApp, headers: dict[str, str]) -> ASGIApp:
    """The application, whose answers have these headers where they have no others of the name."""
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return

        async def guard(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message["headers"])
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(header for header in encoded if header[0] not in names)]
            await send(message)

        await app(scope, receive, guard)

    return handle
