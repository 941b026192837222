"""gRPC of the user service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_IDEMPOTENCY_KEY
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from runtime.caller import current_caller
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.permissions import USERS, allow
from runtime.process import Lifecycle
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.user.administration.server import AccountRpcs
from services.user.bootstrap import UserComponents, bootstrap
from services.user.checks import check_account, check_credentials, check_refresh_token
from services.user.erasure.server import ErasureRpcs
from services.user.errors import UserNotFound
from services.user.guests.server import GuestRpcs
from services.user.limits.server import limits_service
from services.user.links.server import LinkRpcs
from services.user.messages import to_tokens, to_user
from services.user.sessions.client_traits import to_traits
from services.user.sessions.server import SessionRpcs

Context = grpc.aio.ServicerContext[Any, Any]


class UserServicer(AccountRpcs, ErasureRpcs, GuestRpcs, LinkRpcs, SessionRpcs, UserServiceServicer):
    """The user service over gRPC."""

    def __init__(self, components: UserComponents) -> None:
        self._service = components.users
        self._administration = components.administration
        self._links = components.links
        self._erasures = components.erasures
        self._guests = components.guests
        self._sessions = components.sessions
        self._signer = components.signer
        self._refresh_tokens = components.refresh_tokens

    @allow(Part.GATEWAY)
    async def RegisterUser(self, request: pb.RegisterUserRequest, context: Context) -> pb.RegisterUserResponse:
        check_account(email=request.email, password=request.password, name=request.name)
        with Violations() as violations:
            violations.check_text("idempotency_key", request.idempotency_key, shortest=0, longest=MAX_IDEMPOTENCY_KEY)
        user = await self._service.register(
            email=request.email,
            password=request.password,
            name=request.name,
            idempotency_key=request.idempotency_key or None,
        )
        return pb.RegisterUserResponse(user=to_user(user))

    @allow(Part.GATEWAY)
    @allow(Part.CODEC_SERVER)
    async def AuthenticateUser(
        self, request: pb.AuthenticateUserRequest, context: Context
    ) -> pb.AuthenticateUserResponse:
        check_credentials(email=request.email, password=request.password)
        user = await self._service.authenticate(email=request.email, password=request.password)
        client = to_traits(address=request.client.address, user_agent=request.client.user_agent)
        refresh = await self._refresh_tokens.issue(user, client)
        access = self._signer.sign(user.caller(refresh.session_id))
        return to_tokens(pb.AuthenticateUserResponse, user, access=access, refresh=refresh)

    @allow(Part.GATEWAY)
    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Context) -> pb.RefreshTokenResponse:
        check_refresh_token(request.refresh_token)
        client = to_traits(address=request.client.address, user_agent=request.client.user_agent)
        user, refresh = await self._refresh_tokens.rotate(request.refresh_token, client)
        access = self._signer.sign(user.caller(refresh.session_id))
        return to_tokens(pb.RefreshTokenResponse, user, access=access, refresh=refresh)

    @allow(Part.GATEWAY)
    @allow(Part.CODEC_SERVER)
    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        check_refresh_token(request.refresh_token)
        await self._refresh_tokens.revoke(request.refresh_token)
        return pb.RevokeTokenResponse()

    @allow(Part.GATEWAY, *USERS)
    @allow(Part.ORDER)
    @allow(Part.NOTIFICATION)
    @allow(Part.OPERATOR)
    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
        if not current_caller().may_see(request.user_id):
            raise UserNotFound(request.user_id)
        return pb.GetUserResponse(user=to_user(await self._service.get(request.user_id)))


def grpc_service(components: UserComponents) -> GrpcService:
    """The service as it is served."""
    descriptor = pb.DESCRIPTOR.services_by_name["UserService"]
    return GrpcService(descriptor, UserServicer(components), add_UserServiceServicer_to_server)


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops."""
    async with bootstrap(settings) as components:
        await serve(
            settings,
            lifecycle,
            grpc_service(components),
            on_call=on_call_service(Part.USER, components.database, components.on_call),
            beside=[limits_service(components.limits)],
            checks=components.checks,
            measurements=components.measurements,
            background=components.background,
            ended_sessions=components.ended_sessions,
        )
