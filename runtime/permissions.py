"""Which parts may call a gRPC method, and for whom: declared beside each method, asked before it runs.

    @allow(Part.ORDER_WORKER)                 # as itself
    @allow(Part.GATEWAY, CallerRole.ADMIN)    # for a user with that role, whose access token comes with the call
    @allow(Part.OPERATOR)                     # a person on call
    async def GetStock(self, request, context): …

A method that declares nothing keeps its server from starting. Who calls is known from the certificate, and for whom
from a token that is verified here once more: metadata alone prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from domain.refusals import Refusal
from runtime.caller import ANONYMOUS, AUTHORIZATION, SERVICE, Caller, CallerRole, PermissionDenied, read_bearer
from runtime.identity import Identity, Part, identity_of
from runtime.refusal import Refused
from runtime.tokens import InvalidToken, TokenVerifier

Method = TypeVar("Method", bound=Callable[..., Any])

STAFF: Final = (CallerRole.SUPPORT, CallerRole.ADMIN)
"""Users who work for the shop."""
USERS: Final = (CallerRole.CUSTOMER, *STAFF)
"""Users who are signed in."""
READERS: Final = (CallerRole.GUEST, *USERS)
"""Those who have an order: users, and guests, who have one each."""
ANYBODY: Final = (CallerRole.ANONYMOUS, *USERS)
"""Users, signed in or not."""
_DECLARED: Final = "__permissions__"
OF_GRPC_ITSELF: Final = tuple(f"/{name}/" for name in (health.SERVICE_NAME, reflection.SERVICE_NAME))
"""Services of gRPC's own, which every part of ours may ask."""


class UndeclaredMethod(Exception):
    """A method says of no part that it may call it; the message names it."""


class Unauthenticated(Refused):
    """The call needs a user's access token, and has none that proves anything."""

    refusal = Refusal.UNAUTHENTICATED
    code = grpc.StatusCode.UNAUTHENTICATED


@dataclass(frozen=True, slots=True)
class Permission:
    """A part may call, as itself (without roles) or for users with one of these roles."""

    part: Part
    roles: Sequence[CallerRole]


def allow(part: Part, *roles: CallerRole) -> Callable[[Method], Method]:
    """Declare that a part may call the method: as itself, or with `roles` for such users alone."""

    def declare(method: Method) -> Method:
        declared: tuple[Permission, ...] = getattr(method, _DECLARED, ())
        if any(permission.part is part for permission in declared):
            raise TypeError(f"{method.__qualname__} declares {part.value} twice")
        setattr(method, _DECLARED, (Permission(part, roles), *declared))
        return method

    return declare


class Permissions:
    """What the methods of a server's services declare.

    Raises:
        UndeclaredMethod: one of them declares nothing, or streams, which the interceptor does not guard.
    """

    def __init__(self, services: Sequence[tuple[ServiceDescriptor, object]], verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._of: Mapping[str, Sequence[Permission]] = {
            f"/{descriptor.full_name}/{method.name}": _declared(method, servicer)
            for descriptor, servicer in services
            for method in descriptor.methods
        }

    def identify(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Who calls, of those who may.

        Raises:
            PermissionDenied: the part may not call this, or not for this user.
            Unauthenticated: there is no valid token, and it takes one.
        """
        identity = _identity_of(context)
        if method.startswith(OF_GRPC_ITSELF):
            return SERVICE
        found = next((permission for permission in self._of.get(method, ()) if permission.part is identity.part), None)
        if found is None:
            raise PermissionDenied(f"{identity.part.value} may not call {method}")
        if identity.operator:
            return Caller(CallerRole.OPERATOR, id=identity.operator)
        token = read_bearer(dict(context.invocation_metadata() or ()).get(AUTHORIZATION, ""))
        if not found.roles:
            return SERVICE
        if not token and CallerRole.ANONYMOUS in found.roles:
            return ANONYMOUS
        caller = self._verify(token)
        caller.require(*found.roles)
        return caller

    def _verify(self, token: str) -> Caller:
        if not token:
            raise Unauthenticated("the call is made for no user; send an access token as authorization: Bearer <token>")
        try:
            return self._verifier.verify(token)
        except InvalidToken as error:
            raise Unauthenticated(str(error)) from None


def _declared(method: MethodDescriptor, servicer: object) -> Sequence[Permission]:
    if method.client_streaming or method.server_streaming:
        raise UndeclaredMethod(f"{method.full_name} streams, and nobody asks who calls before a stream begins")
    declared: Sequence[Permission] = getattr(getattr(servicer, method.name), _DECLARED, ())
    if not declared:
        raise UndeclaredMethod(f"{method.full_name} does not say who may call it; see runtime.permissions")
    return declared


def _identity_of(context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
    """Whom the caller's certificate names.

    Raises:
        PermissionDenied: nobody of ours.
    """
    names = [name.decode() for name in context.auth_context().get("peer_spiffe_id", ())]
    identity = identity_of(names[0]) if len(names) == 1 else None
    if identity is None:
        raise PermissionDenied(f"the caller's certificate is for {', '.join(names) or 'nobody'}, no part of ours")
    return identity
