"""SQL of refresh tokens. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from runtime.database import Connection
from services.user.model import TokenOwner, TokenState

# A family is revoked in the row of its first token alone.
_USE: Final = """
    UPDATE refresh_tokens AS token
       SET used_at = now()
      FROM refresh_tokens AS first
     WHERE token.token_hash = %(token_hash)s
       AND token.used_at IS NULL
       AND token.expires_at > now()
       AND first.id = token.family_id
       AND first.revoked_at IS NULL
    RETURNING token.family_id, token.user_id
"""
_FIND: Final = """
    SELECT token.family_id, token.user_id,
           token.used_at IS NOT NULL AS is_used, first.revoked_at IS NOT NULL AS is_revoked
      FROM refresh_tokens AS token JOIN refresh_tokens AS first ON first.id = token.family_id
     WHERE token.token_hash = %(token_hash)s
"""


class TokenRepository:
    """Refresh tokens, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, token_id: str, owner: TokenOwner, *, token_hash: bytes, ttl: timedelta) -> datetime:
        """Write a new token; answers when it expires."""
        expires_at: datetime = await self._connection.fetch_value(
            """
            INSERT INTO refresh_tokens (id, family_id, user_id, token_hash, issued_at, expires_at)
            VALUES (%(token_id)s, %(family_id)s, %(user_id)s, %(token_hash)s, now(), now() + %(ttl)s)
            RETURNING expires_at
            """,
            token_id=token_id,
            family_id=owner.family_id,
            user_id=owner.user_id,
            token_hash=token_hash,
            ttl=ttl,
        )
        return expires_at

    async def use(self, token_hash: bytes) -> TokenOwner | None:
        """Use up the token; None unless it is unused, unexpired, and of a family that is not revoked.

        Of several uses at once one gets it: the others wait for that one's commit, and then find the token used.
        """
        return await self._connection.fetch_one(TokenOwner, _USE, token_hash=token_hash)

    async def find(self, token_hash: bytes) -> TokenState | None:
        """The token, whatever has become of it."""
        return await self._connection.fetch_one(TokenState, _FIND, token_hash=token_hash)

    async def revoke_family(self, token_hash: bytes) -> bool:
        """Refuse every token of this one's family from here on; whether that is new."""
        revoked = await self._connection.execute(
            """
            UPDATE refresh_tokens SET revoked_at = now()
             WHERE id = (SELECT family_id FROM refresh_tokens WHERE token_hash = %(token_hash)s)
               AND revoked_at IS NULL
            """,
            token_hash=token_hash,
        )
        return revoked == 1

    async def revoke_all(self, user_id: str) -> None:
        """Refuse every token that the account has."""
        await self._connection.execute(
            """
            UPDATE refresh_tokens SET revoked_at = now()
             WHERE user_id = %(user_id)s AND id = family_id AND revoked_at IS NULL
            """,
            user_id=user_id,
        )
