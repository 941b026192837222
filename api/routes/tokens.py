"""Tokens: logging in, staying logged in, logging out."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import AnyRequest
from api.client_traits import client_traits
from api.limits.guards import note_login, within_login_limits
from api.problems import declared
from api.schemas.users import Credentials, RefreshTokenRequest, Token
from api.services import Services
from api.validation import StrictJson
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import ANONYMOUS
from runtime.protos import from_proto, to_proto
from runtime.rpc_client import call


@post(
    "/v1/auth/token",
    operation_id="createToken",
    summary="Trade e-mail and password for tokens",
    tags=["users"],
    status_code=200,
    dto=StrictJson[Credentials],
    responses=declared(400, 401, 403, 413, 415),
)
async def create_token(
    request: AnyRequest, data: JSONBody[Credentials], services: NamedDependency[Services]
) -> Response[Token]:
    """Trade e-mail and password for tokens, which begins a session; a wrong one and an unknown e-mail answer alike.

    To the right password a disabled account answers with `account-disabled`.
    """
    await within_login_limits(request, data.email)
    answer = await call(
        services.user.AuthenticateUser,
        to_proto(pb.AuthenticateUserRequest, data, client=client_traits(request)),
        caller=ANONYMOUS,
        deadline=services.password_deadline,
    )
    await note_login(request, data.email)
    return _show(answer)


@post(
    "/v1/auth/refresh",
    operation_id="refreshToken",
    summary="Trade a refresh token for new tokens",
    tags=["users"],
    status_code=200,
    dto=StrictJson[RefreshTokenRequest],
    responses=declared(400, 401, 413, 415),
)
async def refresh_token(
    request: AnyRequest, data: JSONBody[RefreshTokenRequest], services: NamedDependency[Services]
) -> Response[Token]:
    """Trade a refresh token for a new access token and the next refresh token.

    Each refresh token works once. One that comes again, be it from a thief or from a client that lost the answer, is a
    `refresh-token-reused` and revokes all refresh tokens of its login: log in again.
    """
    answer = await call(
        services.user.RefreshToken,
        to_proto(pb.RefreshTokenRequest, data, client=client_traits(request)),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    return _show(answer)


@post(
    "/v1/auth/logout",
    operation_id="logOut",
    summary="End a session, given its refresh token",
    tags=["users"],
    status_code=204,
    dto=StrictJson[RefreshTokenRequest],
    responses=declared(400, 413, 415),
)
async def log_out(data: JSONBody[RefreshTokenRequest], services: NamedDependency[Services]) -> None:
    """Revoke all refresh tokens of a login, given any of them. A repeat, or an unknown token, is no error (RFC 7009).

    Access tokens that were issued already are refused within a minute.
    """
    await call(
        services.user.RevokeToken,
        to_proto(pb.RevokeTokenRequest, data),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )


def _show(answer: pb.AuthenticateUserResponse | pb.RefreshTokenResponse) -> Response[Token]:
    token = from_proto(Token, answer, token_type="Bearer")  # noqa: S106  # RFC 6750's name of the scheme, not a password
    return Response(token, status_code=200, headers={"Cache-Control": "no-store"})  # RFC 6749, section 5.1
