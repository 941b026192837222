"""Who asks, by address: for limits, and in part for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from runtime.client_address import Address, TrustedProxies, subscriber, truncated
from runtime.work_context import client

log = structlog.stdlib.get_logger(__name__)

_ADDRESS: Final = "client_address"
_FORWARDED: Final = b"x-forwarded-for"
NOBODY: Final = "unknown"
"""Stands for whoever has no address: all that come so are counted as one."""


def address_of(scope: Scope) -> Address | None:
    """Who asks; None where that cannot be said."""
    address: Address | None = scope["state"].get(_ADDRESS)
    return address


def subscriber_of(scope: Scope) -> str:
    """Whom a request counts for, see `runtime.client_address.subscriber`."""
    address = address_of(scope)
    return NOBODY if address is None else subscriber(address)


def addressed(app: ASGIApp, proxies: TrustedProxies) -> ASGIApp:
    """The application, each of whose requests knows who asks."""

    has_warned = False

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal has_warned
        if scope["type"] == ScopeType.HTTP:
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
            address = proxies.client_of(_peer(scope), forwarded)
            if forwarded and not proxies and address is not None and not has_warned:
                has_warned = True  # once: anybody may send the header
                log.warning("gateway.no_trusted_proxies", setting="ORDERSAGA_TRUSTED_PROXIES", peer=truncated(address))
            if address is not None:
                scope.setdefault("state", {})[_ADDRESS] = address
                client.set(truncated(address))
        await app(scope, receive, send)

    return handle


def _peer(scope: Mapping[str, Any]) -> str:
    peer = scope.get("client")
    return str(peer[0]) if peer else ""
