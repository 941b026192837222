"""SQL of refresh tokens and the sessions that they make. Every method runs on the caller's connection, in its
transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from runtime.database import Connection
from runtime.ended_sessions import NewlyEnded
from services.user.model import ClientTraits, Session, TokenOwner, TokenState, User

# What was read of the account when the password was verified has to hold still: FOR SHARE waits for who changes it.
_ADD_FIRST: Final = """
    INSERT INTO refresh_tokens
           (id, family_id, user_id, token_hash, issued_at, expires_at, address, user_agent)
    SELECT %(token_id)s, %(token_id)s, id, %(token_hash)s, now(), now() + %(ttl)s, %(address)s, %(user_agent)s
      FROM users
     WHERE id = %(user_id)s AND role = %(role)s AND disabled_at IS NULL
       AND password_changed_at IS NOT DISTINCT FROM %(password_changed_at)s::timestamptz
       FOR SHARE
    RETURNING expires_at
"""
_ADD_NEXT: Final = """
    INSERT INTO refresh_tokens
           (id, family_id, user_id, token_hash, issued_at, expires_at, address, user_agent)
    VALUES (%(token_id)s, %(family_id)s, %(user_id)s, %(token_hash)s, now(), now() + %(ttl)s, %(address)s,
            %(user_agent)s)
    RETURNING expires_at
"""
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
# A commit may come a while after its transaction's now(): what others have not seen then lies within the overlap.
_LIST_ENDED: Final = """
    SELECT id::text FROM refresh_tokens
     WHERE revoked_at > coalesce(%(since)s::timestamptz - interval '1 minute', now() - %(token_life)s)
     ORDER BY revoked_at DESC LIMIT %(limit)s
"""
_LIST: Final = """
    SELECT first.id, first.issued_at AS created_at, last.issued_at AS last_used_at, last.address, last.user_agent
      FROM refresh_tokens AS first JOIN refresh_tokens AS last ON last.family_id = first.id
     WHERE first.user_id = %(user_id)s AND first.id = first.family_id AND first.revoked_at IS NULL
       AND last.user_id = %(user_id)s AND last.used_at IS NULL AND last.expires_at > now()
     ORDER BY last.issued_at DESC, first.id
"""


class TokenRepository:
    """Refresh tokens, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_first(
        self, token_id: str, user: User, client: ClientTraits, *, token_hash: bytes, ttl: timedelta
    ) -> datetime | None:
        """Write the first token of a session; answers when it expires.

        None, and there is no session, when the account has another role or password than was read, or is disabled.
        """
        expires_at: datetime | None = await self._connection.fetch_value(
            _ADD_FIRST,
            token_id=token_id,
            token_hash=token_hash,
            ttl=ttl,
            user_id=user.id,
            role=user.role,
            password_changed_at=user.password_changed_at,
            address=client.address,
            user_agent=client.user_agent,
        )
        return expires_at

    async def add_next(
        self, token_id: str, owner: TokenOwner, client: ClientTraits, *, token_hash: bytes, ttl: timedelta
    ) -> datetime:
        """Write the next token of a session; answers when it expires."""
        expires_at: datetime = await self._connection.fetch_value(
            _ADD_NEXT,
            token_id=token_id,
            family_id=owner.family_id,
            user_id=owner.user_id,
            token_hash=token_hash,
            ttl=ttl,
            address=client.address,
            user_agent=client.user_agent,
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

    async def list_sessions(self, user_id: str) -> list[Session]:
        """Where the account is logged in, the last used first."""
        return await self._connection.fetch_all(Session, _LIST, user_id=user_id)

    async def list_ended(self, since: datetime | None, *, token_life: timedelta, limit: int) -> NewlyEnded:
        """Sessions that ended after that moment, and a minute before it; all that matter without one. Last first."""
        until = await self._connection.fetch_value("SELECT now()")
        ids = await self._connection.fetch_all(
            lambda id: str(id),  # noqa: A006 - the column
            _LIST_ENDED,
            since=since,
            token_life=token_life,
            limit=limit,
        )
        return NewlyEnded(session_ids=ids, until=until, token_seconds=token_life.total_seconds())

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

    async def end_session(self, session_id: str, *, user_id: str) -> bool:
        """Refuse every token of the user's session from here on; whether it was open."""
        ended = await self._connection.execute(
            """
            UPDATE refresh_tokens SET revoked_at = now()
             WHERE id = %(session_id)s AND id = family_id AND user_id = %(user_id)s AND revoked_at IS NULL
            """,
            session_id=session_id,
            user_id=user_id,
        )
        return ended == 1

    async def end_sessions(self, user_id: str, *, but: str | None = None) -> None:
        """Refuse every token that the account has, but for those of one session."""
        await self._connection.execute(
            """
            UPDATE refresh_tokens SET revoked_at = now()
             WHERE user_id = %(user_id)s AND id = family_id AND revoked_at IS NULL
               AND id IS DISTINCT FROM %(but)s::uuid
            """,
            user_id=user_id,
            but=but,
        )
