"""gRPC of erasing people."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_PASSWORD
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import CallerRole, current_caller
from runtime.identity import Part
from runtime.permissions import USERS, allow
from runtime.validation import Violations
from services.user.erasure.service import Erasures
from services.user.errors import UserNotFound

Context = grpc.aio.ServicerContext[Any, Any]


class ErasureRpcs:
    """The method that erases a person."""

    _erasures: Erasures

    @allow(Part.GATEWAY, *USERS)
    @allow(Part.OPERATOR)
    async def EraseUser(self, request: pb.EraseUserRequest, context: Context) -> pb.EraseUserResponse:
        caller = current_caller()
        is_own = caller.id == request.user_id
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
            if is_own:
                violations.check_text("current_password", request.current_password, longest=MAX_PASSWORD)
        if is_own:
            await self._erasures.check_password(request.user_id, request.current_password)
        elif caller.role not in (CallerRole.ADMIN, CallerRole.OPERATOR):
            raise UserNotFound(request.user_id)
        await self._erasures.erase(request.user_id, actor=caller.actor)
        return pb.EraseUserResponse()
