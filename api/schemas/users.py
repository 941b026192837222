"""Accounts and tokens, as they cross HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Struct, UnsetType

from api.schemas.fields import Email, Request, plain_line, text
from domain.emails import MAX_EMAIL
from domain.limits import MAX_LINK_TOKEN, MAX_PASSWORD, MAX_REFRESH_TOKEN, MAX_USER_NAME, MIN_PASSWORD
from domain.users import Role


class NewUser(Request, frozen=True, kw_only=True):
    """An account to open."""

    email: Email
    password: Annotated[str, text(MAX_PASSWORD, shortest=MIN_PASSWORD)]
    name: Annotated[str, plain_line(MAX_USER_NAME)]


class Credentials(Request, frozen=True, kw_only=True):
    """What tokens are traded for."""

    email: Annotated[str, text(MAX_EMAIL)]
    password: Annotated[str, text(MAX_PASSWORD)]


class RefreshTokenRequest(Request, frozen=True, kw_only=True):
    """The refresh token that its holder was given last."""

    refresh_token: Annotated[str, text(MAX_REFRESH_TOKEN)]


class EmailConfirmation(Request, frozen=True, kw_only=True):
    """The token of a mailed link."""

    token: Annotated[str, text(MAX_LINK_TOKEN)]


class PasswordResetRequest(Request, frozen=True, kw_only=True):
    """Whose password is forgotten."""

    email: Annotated[str, text(MAX_EMAIL)]


class PasswordReset(Request, frozen=True, kw_only=True):
    """The token of a mailed link, and the password that it lets its reader choose."""

    token: Annotated[str, text(MAX_LINK_TOKEN)]
    password: Annotated[str, text(MAX_PASSWORD, shortest=MIN_PASSWORD)]


class PasswordChange(Request, frozen=True, kw_only=True):
    """Another password."""

    current_password: Annotated[str, text(MAX_PASSWORD)]
    password: Annotated[str, text(MAX_PASSWORD, shortest=MIN_PASSWORD)]


class Erasure(Request, frozen=True, kw_only=True):
    """That one's account shall go."""

    current_password: Annotated[str, text(MAX_PASSWORD)]


class EmailChange(Request, frozen=True, kw_only=True):
    """Another address."""

    current_password: Annotated[str, text(MAX_PASSWORD)]
    email: Email


class User(Struct, frozen=True, kw_only=True):
    """An account."""

    id: str
    email: str
    name: str
    role: Role
    created_at: datetime
    email_confirmed: bool
    disabled: bool


class UserPage(Struct, frozen=True, kw_only=True):
    """Accounts, the newest first; `next_cursor` is null on the last page."""

    items: list[User]
    next_cursor: str | None


class UserChanges(Request, frozen=True, kw_only=True):
    """What changes of an account; the rest stays."""

    role: Role | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class Session(Struct, frozen=True, kw_only=True):
    """Where somebody is logged in: `address` is the network that they came from last."""

    id: str
    created_at: datetime
    last_used_at: datetime
    address: str | None
    user_agent: str | None
    is_current: bool


class Sessions(Struct, frozen=True, kw_only=True):
    """Somebody's sessions, the last used first."""

    items: list[Session]


class Token(Struct, frozen=True, kw_only=True):
    """Two tokens: send the access token as ``Authorization: Bearer …`` until it expires.

    The refresh token gets the next pair, once; keep it where nobody else can read it.
    """

    access_token: str
    token_type: str
    expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime
    user: User
