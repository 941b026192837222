"""What the user service talks about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtime.caller import CallerRole


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account, without its password."""

    id: str
    email: str
    name: str
    role: CallerRole
    seq: int
    created_at: datetime


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
