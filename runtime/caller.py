"""For whom a call is made: a user, known by their access token, or a part of ours as itself.

The gateway passes the token on, and the owning service verifies it again and decides (`runtime.permissions`).
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused

AUTHORIZATION: Final = "authorization"
"""Key of the gRPC metadata, and name of the header, in which an access token travels (RFC 6750)."""
_BEARER: Final = "bearer"
_OPERATORS: Final = UUID("7d0f2f2e-5d0c-5b7e-9a35-2c9a1f6e4b10")
"""Namespace (RFC 9562) of the ids that stand for operators' names."""


class CallerRole(StrEnum):
    """What a caller may do."""

    ANONYMOUS = "anonymous"
    GUEST = "guest"
    """Somebody without an account, for the one order that they were given a token for."""
    CUSTOMER = "customer"
    SUPPORT = "support"
    ADMIN = "admin"
    OPERATOR = "operator"
    """A person on call, known by their certificate."""
    SERVICE = "service"


class PermissionDenied(Refused):
    """The caller's role does not allow the call."""

    refusal = Refusal.PERMISSION_DENIED
    code = grpc.StatusCode.PERMISSION_DENIED


@dataclass(frozen=True, slots=True)
class Caller:
    """Identity and role; the id is a user's, an operator's name, or empty, and the token what proves a user's.

    The session is the login that the token comes from; the order is a guest's, who has nothing else here.
    """

    role: CallerRole
    id: str = ""
    token: str = field(default="", repr=False, compare=False)
    session: str = field(default="", compare=False)
    order_id: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """As gRPC metadata: the token, if there is one."""
        return ((AUTHORIZATION, f"Bearer {self.token}"),) if self.token else ()

    @property
    def actor(self) -> str:
        """Who it is in what is kept of their actions: ``operator:<name>``, ``admin:<user id>``, …"""
        return f"{self.role.value}:{self.id}" if self.id else self.role.value

    @property
    def key(self) -> str:
        """A UUID that stands for who it is where idempotency keys are kept: a user's id, or one made of the name."""
        return self.id if self.role is not CallerRole.OPERATOR else str(uuid5(_OPERATORS, self.id))

    @property
    def sees_all(self) -> bool:
        """Whether everybody's is shown to this caller."""
        return self.role in _SEE_ALL

    def may_see(self, owner_id: str, *, order_id: str = "") -> bool:
        """Whether what belongs to `owner_id`, and to that order if it belongs to one, may be shown to this caller."""
        return self.sees_all or self.is_customer_of(owner_id, order_id=order_id)

    def is_customer_of(self, owner_id: str, *, order_id: str) -> bool:
        """Whether this is whom it belongs to: the customer, or who came for that order as a guest."""
        if self.role is CallerRole.GUEST:
            return bool(order_id) and self.order_id == order_id
        return self.role is not CallerRole.OPERATOR and bool(owner_id) and self.id == owner_id

    def require(self, *roles: CallerRole) -> None:
        """Refuse every other role.

        Raises:
            PermissionDenied: when the caller has none of `roles`.
        """
        if self.role not in roles:
            raise PermissionDenied(f"role {self.role.value} may not do this; {' or '.join(roles)} may")


_SEE_ALL: Final = frozenset({CallerRole.SUPPORT, CallerRole.ADMIN, CallerRole.OPERATOR, CallerRole.SERVICE})

ANONYMOUS = Caller(CallerRole.ANONYMOUS)
SERVICE = Caller(CallerRole.SERVICE)

_current: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)


def current_caller() -> Caller:
    """The caller of the gRPC call being served."""
    return _current.get()


def set_current_caller(caller: Caller) -> None:
    """Note for whom the call being served is made."""
    _current.set(caller)


def read_bearer(authorization: str | bytes) -> str:
    """The token in ``Bearer <token>``; empty when it is no such thing."""
    text = authorization if isinstance(authorization, str) else authorization.decode("ascii", "replace")
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == _BEARER else ""
