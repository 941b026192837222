"""gRPC of those who administer accounts."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_PAGE_SIZE
from domain.users import Role
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import CallerRole, current_caller
from runtime.cursors import encode_cursor
from runtime.identity import Part
from runtime.permissions import STAFF, allow
from runtime.validation import Violations
from services.user.administration.service import Administration
from services.user.messages import to_role, to_user

Context = grpc.aio.ServicerContext[Any, Any]


class AccountRpcs:
    """The methods about other people's accounts."""

    _administration: Administration

    @allow(Part.GATEWAY, *STAFF)
    @allow(Part.OPERATOR)
    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        with Violations() as violations:
            violations.check_range("page_size", request.page_size, smallest=1, largest=MAX_PAGE_SIZE)
            before = violations.check_page_token("page_token", request.page_token)
            if request.email:
                violations.check_email("email", request.email)
        page = await self._administration.list_users(
            email=request.email or None, before=before, page_size=request.page_size
        )
        return pb.ListUsersResponse(
            users=[to_user(user) for user in page.users],
            next_page_token=encode_cursor(page.users[-1].id) if page.has_more else "",
        )

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    @allow(Part.OPERATOR)
    async def ChangeUser(self, request: pb.ChangeUserRequest, context: Context) -> pb.ChangeUserResponse:
        role = to_role(request.role)
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
            if request.HasField("role") and role is None:
                violations.add("role", f"must be {', '.join(Role)}")
        user = await self._administration.change(
            request.user_id,
            role=role,
            disabled=request.disabled if request.HasField("disabled") else None,
            actor=current_caller().actor,
        )
        return pb.ChangeUserResponse(user=to_user(user))
