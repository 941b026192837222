"""Where a request asks for its permits, and what its answer says of that."""

from __future__ import annotations

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders, State
from litestar.enums import ScopeType
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.client_address import subscriber_of
from api.limits.rules import limit_of_account, limit_of_address
from domain.rate_limits import Limit
from runtime.limits.limiter import Limiter, LimitExceeded, Standing
from runtime.limits.logins import KNOWN_FOR, account_of, owner_key, permits_of_login

_STANDINGS: Final = "rate_limits"


async def within_address_limits(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """Guard of all routes: the address asks no more often than it may.

    Raises:
        LimitExceeded: it does.
    """
    limit = limit_of_address(handler)
    if limit is not None:
        await _take(connection, limit, subscriber_of(connection.scope))


async def within_account_limits(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """The account whose token came asks no more often than it may.

    Raises:
        LimitExceeded: it does.
    """
    limit = limit_of_account(handler, connection.user.role)
    if limit is not None:
        await _take(connection, limit, connection.user.id)


async def within_login_limits(connection: ASGIConnection[Any, Any, Any, State], email: str) -> None:
    """The account is not guessed at, see `permits_of_login`.

    Raises:
        LimitExceeded: it is.
    """
    for permit in permits_of_login(email, subscriber_of(connection.scope)):
        await _take(connection, permit.limit, *permit.whose, unless_exempt=permit.unless_exempt)


async def within_guest_address_limits(connection: ASGIConnection[Any, Any, Any, State]) -> None:
    """The network address places no more orders of guests than it may.

    Raises:
        LimitExceeded: it does.
    """
    await _take(connection, Limit.GUEST_ORDERS, subscriber_of(connection.scope))


async def within_guest_order_limits(connection: ASGIConnection[Any, Any, Any, State], email: str) -> None:
    """The e-mail address, which may be somebody else's, gets no more mails about orders than it may.

    Raises:
        LimitExceeded: it would.
    """
    await _take(connection, Limit.GUEST_ORDERS_FOR, account_of(email))


async def within_guest_link_limits(connection: ASGIConnection[Any, Any, Any, State], email: str) -> None:
    """The e-mail address, which may be somebody else's, gets no more links than it may.

    Raises:
        LimitExceeded: it would.
    """
    await _take(connection, Limit.GUEST_LINKS_FOR, account_of(email))


async def note_login(connection: ASGIConnection[Any, Any, Any, State], email: str) -> None:
    """Know the account's owner by this address from now on."""
    if Limit.LOGINS_ELSEWHERE in _limiter(connection).rates:
        owner = owner_key(email, subscriber_of(connection.scope))
        await _limiter(connection).exempt(owner, seconds=KNOWN_FOR)


def standings_of(scope: Scope) -> list[Standing]:
    """How the client of a request stands with the limits that were asked."""
    standings: list[Standing] = scope.setdefault("state", {}).setdefault(_STANDINGS, [])
    return standings


def showing_limits(app: ASGIApp) -> ASGIApp:
    """The application, whose answers say how their client stands.

    By https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        standings = standings_of(scope)

        async def show(message: Message) -> None:
            if message["type"] == "http.response.start" and standings:
                headers = MutableScopeHeaders(message)
                headers["RateLimit-Policy"] = ", ".join(map(_policy, standings))
                headers["RateLimit"] = ", ".join(map(_left, standings))
            await send(message)

        await app(scope, receive, show)

    return handle


def _policy(standing: Standing) -> str:
    return f'"{standing.limit}";q={standing.rate.count};w={standing.rate.seconds}'


def _left(standing: Standing) -> str:
    return f'"{standing.limit}";r={standing.remaining};t={standing.wait or standing.full_in}'


async def _take(
    connection: ASGIConnection[Any, Any, Any, State], limit: Limit, *whose: str, unless_exempt: bytes | None = None
) -> None:
    standings = standings_of(connection.scope)
    try:
        standing = await _limiter(connection).take(limit, *whose, unless_exempt=unless_exempt)
    except LimitExceeded as exceeded:
        standings.append(exceeded.standing)
        raise
    if standing is not None:
        standings.append(standing)


def _limiter(connection: ASGIConnection[Any, Any, Any, State]) -> Limiter:
    limiter: Limiter = connection.app.state.limiter
    return limiter
