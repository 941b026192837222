"""What the user service works with, and what is computed from that alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtime.caller import Caller, CallerRole
from runtime.rows import Value
from services.user.tables import UserColumns


class User(Value, UserColumns):
    """An account, without its password."""

    @property
    def caller(self) -> Caller:
        """Its holder, as who makes a call."""
        return Caller(CallerRole(self.role.value), self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """Whose token, and of which family."""

    family_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """A token as it is stored."""

    family_id: str
    user_id: str
    is_used: bool
    is_revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A refresh token as its holder gets it, and the moment from which it is refused."""

    text: str
    expires_at: datetime
