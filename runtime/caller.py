"""Who calls: the gateway verifies the token once and passes identity and role on as gRPC metadata.

Services trust it because only processes of ours reach their ports; each owning service checks ownership itself.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused

ID_KEY = "x-caller-id"
ROLE_KEY = "x-caller-role"


class CallerRole(StrEnum):
    """What a caller may do."""

    ANONYMOUS = "anonymous"
    CUSTOMER = "customer"
    ADMIN = "admin"
    SERVICE = "service"


class PermissionDenied(Refused):
    """The caller's role does not allow the call."""

    refusal = Refusal.PERMISSION_DENIED
    code = grpc.StatusCode.PERMISSION_DENIED


@dataclass(frozen=True, slots=True)
class Caller:
    """Identity and role; the id is a user's, or empty."""

    role: CallerRole
    id: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """As gRPC metadata."""
        return ((ID_KEY, self.id), (ROLE_KEY, self.role.value))

    def may_see(self, owner_id: str) -> bool:
        """Whether what belongs to `owner_id` may be shown to this caller."""
        return self.role in (CallerRole.ADMIN, CallerRole.SERVICE) or (
            self.role is CallerRole.CUSTOMER and self.id == owner_id
        )

    def require(self, *roles: CallerRole) -> None:
        """Refuse every other role.

        Raises:
            PermissionDenied: when the caller has none of `roles`.
        """
        if self.role not in roles:
            raise PermissionDenied(f"role {self.role.value} may not do this; {' or '.join(roles)} may")


ANONYMOUS = Caller(CallerRole.ANONYMOUS)
SERVICE = Caller(CallerRole.SERVICE)

_current: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)


def current_caller() -> Caller:
    """The caller of the gRPC call being served."""
    return _current.get()


def set_current_caller(metadata: grpc.aio.Metadata | tuple[tuple[str, str | bytes], ...]) -> None:
    """Take the caller from a call's metadata; a call without it is anonymous."""
    values = dict(metadata)
    role = values.get(ROLE_KEY, CallerRole.ANONYMOUS.value)
    _current.set(Caller(CallerRole(str(role)), str(values.get(ID_KEY, ""))))
