"""Asks the user service whose password it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from domain.refusals import Refusal
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import SERVICE
from runtime.health import Check
from runtime.identity import Part
from runtime.refusal import CallRefused, Unavailable
from runtime.rpc_client import call, open_channels
from runtime.rpc_health import serving
from runtime.settings import Settings


class BadCredentials(Exception):
    """E-mail and password belong to no account."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An access token, and the unix time at which it expires."""

    token: str
    expires_at: float


class Users(Protocol):
    """Where people sign in."""

    async def sign_in(self, *, email: str, password: str) -> SignedIn:
        """The access token of the account.

        Raises:
            BadCredentials: there is none.
            Unavailable: nobody can tell.
        """


class UserService:
    """The user service over gRPC. It gives a refresh token, too, of which nobody here has a use: it is revoked."""

    def __init__(self, stub: UserServiceStub, *, deadline: float, password_deadline: float) -> None:
        self._stub = stub
        self._deadline = deadline
        self._password_deadline = password_deadline

    async def sign_in(self, *, email: str, password: str) -> SignedIn:
        """See `Users`."""
        request = pb.AuthenticateUserRequest(email=email, password=password)
        try:
            answer = await call(self._stub.AuthenticateUser, request, caller=SERVICE, deadline=self._password_deadline)
        except CallRefused as refused:
            if refused.refusal in (Refusal.BAD_CREDENTIALS, Refusal.INVALID_ARGUMENT):
                raise BadCredentials from None
            raise Unavailable(str(refused)) from None
        with suppress(Unavailable):  # then it expires by itself, and nobody has it
            revoke = pb.RevokeTokenRequest(refresh_token=answer.refresh_token)
            await call(self._stub.RevokeToken, revoke, caller=SERVICE, deadline=self._deadline)
        return SignedIn(answer.access_token, answer.expires_at.ToSeconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSide:
    """What the user service is asked for.

    Attributes:
        users: where people sign in.
        limits: who may try to.
        is_serving: whether anybody answers.
    """

    users: Users
    limits: LimitsServiceStub
    is_serving: Check


@asynccontextmanager
async def open_users(settings: Settings) -> AsyncIterator[UserSide]:
    """The user service, as long as the context is open.

    Raises:
        SettingsError: the codec server has no certificate.
    """
    async with open_channels(settings, Part.CODEC_SERVER, Part.USER) as channels:
        channel = channels[Part.USER]
        users = UserService(
            UserServiceStub(channel), deadline=settings.grpc_deadline, password_deadline=settings.password_deadline
        )
        yield UserSide(users=users, limits=LimitsServiceStub(channel), is_serving=serving(channel))
