"""Sessions: where somebody is logged in."""

from __future__ import annotations

from litestar import Response, delete, get
from litestar.di import NamedDependency

from api.auth import SECURITY, SignedInRequest, admin, signed_in
from api.problems import declared
from api.references import SessionId, UserId
from api.schemas.users import Session, Sessions
from api.services import Services
from ordersaga.user.v1 import user_pb2 as pb
from runtime.protos import from_proto
from runtime.rpc_client import call
from runtime.validation import Violations


@get(
    "/v1/users/me/sessions",
    operation_id="listSessions",
    summary="Where one is logged in",
    tags=["users"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(401, 403),
)
async def list_sessions(request: SignedInRequest, services: NamedDependency[Services]) -> Response[Sessions]:
    """Where the token's holder is logged in, the last used first. Of addresses only the network is kept."""
    answer = await call(
        services.user.ListSessions,
        pb.ListSessionsRequest(user_id=request.user.id),
        caller=request.user,
        deadline=services.deadline,
    )
    sessions = [
        from_proto(Session, session, is_current=session.id == request.user.session) for session in answer.sessions
    ]
    return Response(Sessions(items=sessions), headers={"Cache-Control": "no-store"})


@delete(
    "/v1/users/me/sessions/{session_id:str}",
    operation_id="endSession",
    summary="Log out somewhere",
    tags=["users"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(400, 401, 403, 404),
)
async def end_session(request: SignedInRequest, session_id: SessionId, services: NamedDependency[Services]) -> None:
    """End one of one's sessions: its refresh token is refused at once, its access tokens within a minute."""
    with Violations() as violations:
        violations.check_id("session_id", session_id)
    await call(
        services.user.EndSession,
        pb.EndSessionRequest(user_id=request.user.id, session_id=session_id),
        caller=request.user,
        deadline=services.deadline,
    )


@delete(
    "/v1/users/me/sessions",
    operation_id="endSessions",
    summary="Log out everywhere",
    tags=["users"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(401, 403),
)
async def end_sessions(request: SignedInRequest, services: NamedDependency[Services]) -> None:
    """End all of one's sessions, this one too, as `endSession` does."""
    await _end_all(request, request.user.id, services)


@delete(
    "/v1/users/{user_id:str}/sessions",
    operation_id="endSessionsOfUser",
    summary="Log somebody out everywhere",
    tags=["users"],
    guards=[admin],
    security=SECURITY,
    responses=declared(400, 401, 403),
)
async def end_sessions_of_user(request: SignedInRequest, user_id: UserId, services: NamedDependency[Services]) -> None:
    """End all sessions of an account, as `endSession` does. None is no error. Admins only."""
    with Violations() as violations:
        violations.check_id("user_id", user_id)
    await _end_all(request, user_id, services)


async def _end_all(request: SignedInRequest, user_id: str, services: Services) -> None:
    await call(
        services.user.EndSessions,
        pb.EndSessionsRequest(user_id=user_id),
        caller=request.user,
        deadline=services.deadline,
    )
