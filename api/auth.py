"""Who calls: bearer tokens (RFC 6750) into a `Caller`. As guards, these run before a request's body is looked at."""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from api.limits.guards import within_account_limits, within_guest_address_limits
from api.problems import EXPIRED_TOKEN, INVALID_TOKEN, MISSING_TOKEN, ProblemError
from runtime.caller import ANONYMOUS, AUTHORIZATION, Caller, CallerRole, read_bearer
from runtime.permissions import READERS, STAFF, USERS
from runtime.tokens import ExpiredToken, InvalidToken, TokenVerifier

Connection: TypeAlias = ASGIConnection[Any, Any, Any, State]
AnyRequest: TypeAlias = Request[Any, Any, State]
SignedInRequest: TypeAlias = Request[Caller, Any, State]
"""A request behind one of the guards: its `user` is the caller."""

SECURITY: list[dict[str, list[str]]] = [{"bearer": []}]
"""What guarded operations declare in the OpenAPI description."""
OPTIONAL_SECURITY: list[dict[str, list[str]]] = [{}, *SECURITY]
"""The same of operations that take a token, and do without one."""


async def signed_in(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a request with a user's valid token pass, whoever it is.

    Raises:
        ProblemError: MISSING_TOKEN, INVALID_TOKEN, EXPIRED_TOKEN.
        PermissionDenied: the token is a guest's.
        LimitExceeded: they ask too often.
    """
    await _let_in(connection, handler, *USERS)


async def signed_in_or_guest(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a request with a valid token pass, a guest's included: for what a guest may do with their one order.

    Raises:
        ProblemError, LimitExceeded: as `signed_in`.
    """
    await _let_in(connection, handler, *READERS)


async def staff(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a request of support or of an admin pass.

    Raises:
        ProblemError: as `signed_in`.
        PermissionDenied: the token is a customer's.
    """
    await signed_in(connection, handler)
    connection.user.require(*STAFF)


async def admin(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let an admin's request pass.

    Raises:
        ProblemError: as `signed_in`.
        PermissionDenied: the token is somebody else's.
    """
    await signed_in(connection, handler)
    connection.user.require(CallerRole.ADMIN)


async def staff_or_guest(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a request of support, of an admin or of a guest pass.

    Raises:
        ProblemError, LimitExceeded: as `signed_in`.
        PermissionDenied: the token is a customer's.
    """
    await _let_in(connection, handler, CallerRole.GUEST, *STAFF)


async def guest_or_back_end(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let everybody pass: an admin as the shop's back end, and anybody else as a guest, whatever token they have.

    Raises:
        LimitExceeded: they ask too often.
    """
    try:
        caller = verify_token(connection, optional=True)
    except ProblemError:
        caller = ANONYMOUS
    is_back_end = caller.role is CallerRole.ADMIN
    connection.scope["user"] = caller if is_back_end else ANONYMOUS
    if is_back_end:
        await within_account_limits(connection, handler)
    else:
        await within_guest_address_limits(connection)


def verify_token(connection: Connection, *, optional: bool = False) -> Caller:
    """Who came with which token; if that is `optional`, ANONYMOUS without one.

    Raises:
        ProblemError: MISSING_TOKEN, INVALID_TOKEN, EXPIRED_TOKEN.
    """
    token = read_bearer(connection.headers.get(AUTHORIZATION, ""))
    if not token:
        if optional:
            return ANONYMOUS
        raise ProblemError(MISSING_TOKEN, "Send an access token as Authorization: Bearer <token>.")
    verifier: TokenVerifier = connection.app.state.verifier
    try:
        return verifier.verify(token)
    except ExpiredToken as error:
        raise ProblemError(EXPIRED_TOKEN, f"{error}; get a new one at /v1/auth/token") from None
    except InvalidToken as error:
        raise ProblemError(INVALID_TOKEN, str(error)) from None


async def _let_in(connection: Connection, handler: BaseRouteHandler, *roles: CallerRole) -> None:
    connection.scope["user"] = caller = verify_token(connection)
    await within_account_limits(connection, handler)
    caller.require(*roles)
