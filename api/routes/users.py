"""Accounts."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, signed_in
from api.problems import declared
from api.schemas.users import NewUser, User
from api.services import Services
from api.validation import StrictJson
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import ANONYMOUS
from runtime.protos import from_proto, to_proto
from runtime.rpc_client import call


@post(
    "/v1/users",
    operation_id="registerUser",
    summary="Open a customer's account",
    tags=["users"],
    dto=StrictJson[NewUser],
    responses=declared(400, 409, 413, 415),
    response_headers=[ResponseHeader(name="Location", documentation_only=True, description="The account.")],
)
async def register_user(data: JSONBody[NewUser], services: NamedDependency[Services]) -> Response[User]:
    """Open a customer's account. The e-mail address names it, in whatever case it is written."""
    answer = await call(
        services.user.RegisterUser,
        to_proto(pb.RegisterUserRequest, data),
        caller=ANONYMOUS,
        deadline=services.password_deadline,
    )
    return Response(from_proto(User, answer.user), status_code=201, headers={"Location": "/v1/users/me"})


@get(
    "/v1/users/me",
    operation_id="getCurrentUser",
    summary="The account of the token",
    tags=["users"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(401, 404),
)
async def get_current_user(request: SignedInRequest, services: NamedDependency[Services]) -> User:
    """The account that the token was issued to."""
    answer = await call(
        services.user.GetUser,
        pb.GetUserRequest(user_id=request.user.id),
        caller=request.user,
        deadline=services.deadline,
    )
    return from_proto(User, answer.user)
