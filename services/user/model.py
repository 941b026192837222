"""What the user service works with, and what is computed from that alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.users import Role
from runtime.caller import Caller, CallerRole
from runtime.rows import Value
from services.user.tables import UserColumns


class User(Value, UserColumns):
    """An account, without its password."""

    @property
    def email_confirmed(self) -> bool:
        """Whether its holder reads what is sent to the address."""
        return self.confirmed_at is not None

    @property
    def disabled(self) -> bool:
        """Whether nobody can log in."""
        return self.disabled_at is not None

    @property
    def is_active_admin(self) -> bool:
        """Whether its holder can make admins."""
        return self.role is Role.ADMIN and not self.disabled

    def caller(self, session_id: str) -> Caller:
        """Its holder, as who makes a call in this session."""
        return Caller(CallerRole(self.role.value), self.id, session=session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """Whose token, and of which family."""

    family_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """A token as it is stored; an erased person's has no user."""

    family_id: str
    user_id: str | None
    is_used: bool
    is_revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A refresh token as its holder gets it, and the moment from which it is refused."""

    text: str
    session_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTraits:
    """What is kept of the client that a token goes to: the network of its address, and what it calls itself."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where somebody is logged in; the client's traits as it was last used."""

    id: str
    created_at: datetime
    last_used_at: datetime
    address: str
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPage:
    """A page of accounts, the newest first."""

    users: Sequence[User]
    has_more: bool
