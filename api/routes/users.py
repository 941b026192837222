"""Accounts."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET

from api.auth import SECURITY, SignedInRequest, admin, signed_in, staff
from api.idempotency import OptionalKey, sent_key
from api.problems import declared
from api.references import Cursor, UserId
from api.schemas.users import NewUser, User, UserChanges, UserPage
from api.services import Services
from api.validation import StrictJson
from domain.emails import EMAIL, MAX_EMAIL
from domain.limits import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from domain.users import Role
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import ANONYMOUS
from runtime.protos import enum_mapping, from_proto, to_proto
from runtime.rpc_client import call
from runtime.validation import Violations

_PERSONAL: Final = {"Cache-Control": "no-store"}


@post(
    "/v1/users",
    operation_id="registerUser",
    summary="Open a customer's account",
    tags=["users"],
    dto=StrictJson[NewUser],
    responses=declared(400, 409, 413, 415, 422),
    response_headers=[ResponseHeader(name="Location", documentation_only=True, description="The account.")],
)
async def register_user(
    data: JSONBody[NewUser], services: NamedDependency[Services], idempotency_key: OptionalKey = None
) -> Response[User]:
    """Open a customer's account. The e-mail address names it, in whatever case it is written.

    A repeat with the same `Idempotency-Key` and password is answered with that account, any other that it is taken.
    """
    answer = await call(
        services.user.RegisterUser,
        to_proto(pb.RegisterUserRequest, data, idempotency_key=sent_key(idempotency_key)),
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
    responses=declared(401, 403, 404),
)
async def get_current_user(request: SignedInRequest, services: NamedDependency[Services]) -> Response[User]:
    """The account that the token was issued to."""
    return await _show(request, request.user.id, services)


@get(
    "/v1/users",
    operation_id="listUsers",
    summary="Accounts",
    tags=["users"],
    guards=[staff],
    security=SECURITY,
    responses=declared(400, 401, 403),
)
async def list_users(
    request: SignedInRequest,
    services: NamedDependency[Services],
    email: Annotated[
        str,
        QueryParameter(
            max_length=MAX_EMAIL,
            description="Only the account with this address, in whatever case.",
            schema_extra={"pattern": f"^({EMAIL})?$"},  # documented alone: the user service has better words
        ),
    ] = "",
    limit: Annotated[
        int, QueryParameter(ge=1, le=MAX_PAGE_SIZE, description="Accounts on a page.")
    ] = DEFAULT_PAGE_SIZE,
    cursor: Cursor = "",
) -> Response[UserPage]:
    """Everybody's accounts, the newest first. Staff only: support and admins."""
    answer = await call(
        services.user.ListUsers,
        pb.ListUsersRequest(page_size=limit, page_token=cursor, email=email),
        caller=request.user,
        deadline=services.deadline,
    )
    page = UserPage(items=[from_proto(User, user) for user in answer.users], next_cursor=answer.next_page_token or None)
    return Response(page, headers=_PERSONAL)


@get(
    "/v1/users/{user_id:str}",
    operation_id="getUser",
    summary="One account",
    tags=["users"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(400, 401, 403, 404),
)
async def get_user(request: SignedInRequest, user_id: UserId, services: NamedDependency[Services]) -> Response[User]:
    """One account. To a customer another's answers like one that does not exist."""
    with Violations() as violations:
        violations.check_id("user_id", user_id)
    return await _show(request, user_id, services)


@patch(
    "/v1/users/{user_id:str}",
    operation_id="updateUser",
    summary="Change an account's role, disable or enable it",
    tags=["users"],
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[UserChanges],
    responses=declared(400, 401, 403, 404, 409, 413, 415),
)
async def update_user(
    request: SignedInRequest,
    user_id: UserId,
    data: JSONBody[UserChanges],
    services: NamedDependency[Services],
) -> Response[User]:
    """Change what is given of an account. With another role, and with being disabled, its sessions end.

    Access tokens that it has are refused within a minute. The last admin stays one: `last-admin`. Admins only.
    """
    with Violations() as violations:
        violations.check_id("user_id", user_id)
    roles = enum_mapping(Role, pb.Role.DESCRIPTOR)
    change = pb.ChangeUserRequest(user_id=user_id)
    if data.role is not UNSET:
        change.role = pb.Role.ValueType(roles.to_proto(data.role))
    if data.disabled is not UNSET:
        change.disabled = data.disabled
    answer = await call(services.user.ChangeUser, change, caller=request.user, deadline=services.deadline)
    return Response(from_proto(User, answer.user), headers=_PERSONAL)


async def _show(request: SignedInRequest, user_id: str, services: Services) -> Response[User]:
    answer = await call(
        services.user.GetUser,
        pb.GetUserRequest(user_id=user_id),
        caller=request.user,
        deadline=services.deadline,
    )
    return Response(from_proto(User, answer.user), headers=_PERSONAL)
