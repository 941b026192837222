"""gRPC of sessions. Somebody's are theirs to see and to end; staff see anybody's, and admins and operators end them."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import CallerRole, current_caller
from runtime.identity import Part
from runtime.permissions import USERS, allow
from runtime.protos import from_timestamp, to_proto
from runtime.validation import Violations
from services.user.errors import UserNotFound
from services.user.sessions.service import Sessions

Context = grpc.aio.ServicerContext[Any, Any]


class SessionRpcs:
    """The methods about sessions."""

    _sessions: Sessions

    @allow(Part.GATEWAY, *USERS)
    @allow(Part.OPERATOR)
    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
        if not current_caller().may_see(request.user_id):
            raise UserNotFound(request.user_id)
        found = await self._sessions.list(request.user_id)
        return pb.ListSessionsResponse(sessions=[to_proto(pb.Session, session) for session in found])

    @allow(Part.GATEWAY, *USERS)
    @allow(Part.OPERATOR)
    async def EndSession(self, request: pb.EndSessionRequest, context: Context) -> pb.EndSessionResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
            violations.check_id("session_id", request.session_id)
        _check_may_end(request.user_id)
        await self._sessions.end(request.session_id, user_id=request.user_id)
        return pb.EndSessionResponse()

    @allow(Part.GATEWAY, *USERS)
    @allow(Part.OPERATOR)
    async def EndSessions(self, request: pb.EndSessionsRequest, context: Context) -> pb.EndSessionsResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
        _check_may_end(request.user_id)
        await self._sessions.end_all(request.user_id)
        return pb.EndSessionsResponse()

    @allow(Part.GATEWAY)
    @allow(Part.PRODUCT)
    @allow(Part.INVENTORY)
    @allow(Part.ORDER)
    @allow(Part.PAYMENT)
    @allow(Part.NOTIFICATION)
    @allow(Part.CODEC_SERVER)
    async def ListEndedSessions(
        self, request: pb.ListEndedSessionsRequest, context: Context
    ) -> pb.ListEndedSessionsResponse:
        since = from_timestamp(request.since) if request.HasField("since") else None
        return to_proto(pb.ListEndedSessionsResponse, await self._sessions.list_ended(since))


def _check_may_end(user_id: str) -> None:
    """Let the user end their own, and admins and operators anybody's.

    Raises:
        UserNotFound: the caller is neither.
    """
    caller = current_caller()
    if caller.id != user_id and caller.role not in (CallerRole.ADMIN, CallerRole.OPERATOR):
        raise UserNotFound(user_id)
