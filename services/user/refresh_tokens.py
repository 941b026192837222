"""Use cases of refresh tokens: rotation with reuse detection (RFC 9700, section 4.14.2).

Detection is strict, without a grace period. A client that never got the answer to its refresh looks like a thief who
tries a used token, and must log in again: a new login costs a password, a grace period would give every thief one try.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Final

import structlog

from domain.ids import new_id
from runtime.database import Connection, Database
from services.user.errors import BadCredentials, ExpiredRefreshToken, InvalidRefreshToken, RefreshTokenReused
from services.user.model import ClientTraits, IssuedToken, TokenOwner, User
from services.user.repository import UserRepository
from services.user.token_repository import TokenRepository

log = structlog.stdlib.get_logger(__name__)

_TOKEN_BYTES: Final = 32


class RefreshTokens:
    """Refresh tokens that live `ttl` each."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        self._database = database
        self._ttl = ttl

    async def issue(self, user: User, client: ClientTraits) -> IssuedToken:
        """The first token of a new family, for an account whose password was just verified.

        Raises:
            BadCredentials: the account has another password or role by now, or is disabled.
        """
        token_id, text = new_id(), _new_text()
        async with self._database.autocommit() as connection:
            expires_at = await TokenRepository(connection).add_first(
                token_id, user, client, token_hash=_hash(text), ttl=self._ttl
            )
        if expires_at is None:
            raise BadCredentials
        return IssuedToken(text=text, session_id=token_id, expires_at=expires_at)

    async def rotate(self, token: str, client: ClientTraits) -> tuple[User, IssuedToken]:
        """Trade a token for the next of its family; with it comes the account as it is now.

        Of several uses of one token one gets the next, whether they come at once or one after the other. Any other
        revokes the family, that next token included.

        Raises:
            RefreshTokenReused: the token was used before.
            ExpiredRefreshToken: it was not used in time.
            InvalidRefreshToken: it is none of ours, or its family was revoked.
        """
        token_hash = _hash(token)
        async with self._database.transaction() as connection:
            owner = await TokenRepository(connection).use(token_hash)
            if owner is not None:
                user = await UserRepository(connection).find_user(owner.user_id)
                if user is None:
                    raise LookupError(f"user {owner.user_id} was deleted")
                return user, await self._add_next(connection, owner, client)
        raise await self._refuse(token_hash)

    async def revoke(self, token: str) -> None:
        """Revoke the token's family. A token that is unknown, used or revoked already is no error."""
        async with self._database.autocommit() as connection:
            await TokenRepository(connection).revoke_family(_hash(token))

    async def _add_next(self, connection: Connection, owner: TokenOwner, client: ClientTraits) -> IssuedToken:
        text = _new_text()
        expires_at = await TokenRepository(connection).add_next(
            new_id(), owner, client, token_hash=_hash(text), ttl=self._ttl
        )
        return IssuedToken(text=text, session_id=owner.family_id, expires_at=expires_at)

    async def _refuse(self, token_hash: bytes) -> InvalidRefreshToken | ExpiredRefreshToken | RefreshTokenReused:
        """Why a token could not be used. What that changes is committed before anybody hears of it."""
        async with self._database.autocommit() as connection:
            repository = TokenRepository(connection)
            state = await repository.find(token_hash)
            if state is None:
                return InvalidRefreshToken()
            if state.is_used:
                if await repository.revoke_family(token_hash):
                    log.warning("refresh_token.reused", user_id=state.user_id, family_id=state.family_id)
                return RefreshTokenReused()
            return InvalidRefreshToken() if state.is_revoked else ExpiredRefreshToken()


def _new_text() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
