"""gRPC of the user service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from runtime.caller import Caller, CallerRole, current_caller
from runtime.process import Lifecycle
from runtime.rpc_server import serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.user.bootstrap import UserComponents, bootstrap
from services.user.checks import check_account, check_credentials, check_refresh_token
from services.user.errors import UserNotFound
from services.user.model import User

SERVICE_NAME = "ordersaga.user.v1.UserService"

Context = grpc.aio.ServicerContext[Any, Any]

_ROLES = {CallerRole.CUSTOMER: pb.ROLE_CUSTOMER, CallerRole.ADMIN: pb.ROLE_ADMIN}


class UserServicer(UserServiceServicer):
    """The user service over gRPC."""

    def __init__(self, components: UserComponents) -> None:
        self._service = components.users
        self._signer = components.signer
        self._refresh_tokens = components.refresh_tokens

    async def RegisterUser(self, request: pb.RegisterUserRequest, context: Context) -> pb.RegisterUserResponse:
        check_account(email=request.email, password=request.password, name=request.name)
        user = await self._service.register(email=request.email, password=request.password, name=request.name)
        return pb.RegisterUserResponse(user=_to_proto(user))

    async def AuthenticateUser(
        self, request: pb.AuthenticateUserRequest, context: Context
    ) -> pb.AuthenticateUserResponse:
        check_credentials(email=request.email, password=request.password)
        user = await self._service.authenticate(email=request.email, password=request.password)
        access = self._signer.sign(Caller(user.role, user.id))
        refresh = await self._refresh_tokens.issue(user.id)
        return pb.AuthenticateUserResponse(
            access_token=access.text,
            expires_at=_timestamp(access.expires_at),
            user=_to_proto(user),
            refresh_token=refresh.text,
            refresh_expires_at=_timestamp(refresh.expires_at),
        )

    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Context) -> pb.RefreshTokenResponse:
        check_refresh_token(request.refresh_token)
        user, refresh = await self._refresh_tokens.rotate(request.refresh_token)
        access = self._signer.sign(Caller(user.role, user.id))
        return pb.RefreshTokenResponse(
            access_token=access.text,
            expires_at=_timestamp(access.expires_at),
            user=_to_proto(user),
            refresh_token=refresh.text,
            refresh_expires_at=_timestamp(refresh.expires_at),
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        check_refresh_token(request.refresh_token)
        await self._refresh_tokens.revoke(request.refresh_token)
        return pb.RevokeTokenResponse()

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
        if not current_caller().may_see(request.user_id):
            raise UserNotFound(request.user_id)
        return pb.GetUserResponse(user=_to_proto(await self._service.get(request.user_id)))


def _to_proto(user: User) -> pb.User:
    return pb.User(
        id=user.id,
        email=user.email,
        name=user.name,
        role=_ROLES[user.role],
        created_at=_timestamp(user.created_at),
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops."""
    async with bootstrap(settings) as components:
        servicer = UserServicer(components)
        await serve(
            settings,
            lifecycle,
            address=settings.user_address,
            services=(SERVICE_NAME,),
            add=lambda server: add_UserServiceServicer_to_server(servicer, server),
        )
