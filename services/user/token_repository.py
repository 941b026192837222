"""SQL of refresh tokens. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col

from services.user.tables import RefreshToken as TokenRow


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """Whose token, and of which family."""

    family_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """A token as it is stored."""

    owner: TokenOwner
    is_used: bool
    is_revoked: bool


class TokenRepository:
    """Refresh tokens, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, token_id: str, owner: TokenOwner, *, token_hash: bytes, ttl: timedelta) -> datetime:
        """Write a new token; answers when it expires."""
        row = {
            "id": token_id,
            "family_id": owner.family_id,
            "user_id": owner.user_id,
            "token_hash": token_hash,
            "issued_at": func.now(),
            "expires_at": func.now() + ttl,
        }
        statement = insert(TokenRow).values(row).returning(col(TokenRow.expires_at))
        return (await self._connection.execute(statement)).scalar_one()

    async def use(self, token_hash: bytes) -> TokenOwner | None:
        """Use up the token; None unless it is unused, unexpired, and of a family that is not revoked.

        Of several uses at once one gets it: the others wait for that one's commit, and then find the token used.
        """
        statement = (
            update(TokenRow)
            .where(
                col(TokenRow.token_hash) == token_hash,
                col(TokenRow.used_at).is_(None),
                col(TokenRow.expires_at) > func.now(),
                ~_is_revoked(),
            )
            .values(used_at=func.now())
            .returning(col(TokenRow.family_id), col(TokenRow.user_id))
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else TokenOwner(family_id=row.family_id, user_id=row.user_id)

    async def find(self, token_hash: bytes) -> TokenState | None:
        """The token, whatever has become of it."""
        statement = select(
            col(TokenRow.family_id), col(TokenRow.user_id), col(TokenRow.used_at), _is_revoked().label("is_revoked")
        ).where(col(TokenRow.token_hash) == token_hash)
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            return None
        return TokenState(
            owner=TokenOwner(family_id=row.family_id, user_id=row.user_id),
            is_used=row.used_at is not None,
            is_revoked=row.is_revoked,
        )

    async def revoke_family(self, family_id: str) -> bool:
        """Refuse every token of the family from here on; whether that is new."""
        return await self._revoke(col(TokenRow.id) == family_id)

    async def revoke_all(self, user_id: str) -> bool:
        """Refuse every token that the account has; whether it had any."""
        return await self._revoke(col(TokenRow.user_id) == user_id, col(TokenRow.id) == col(TokenRow.family_id))

    async def _revoke(self, *conditions: ColumnElement[bool]) -> bool:
        statement = (
            update(TokenRow)
            .where(*conditions, col(TokenRow.revoked_at).is_(None))
            .values(revoked_at=func.now())
            .returning(col(TokenRow.id))
        )
        return bool((await self._connection.execute(statement)).all())


def _is_revoked() -> ColumnElement[bool]:
    first = aliased(TokenRow, name="first")
    return exists().where(col(first.id) == col(TokenRow.family_id), col(first.revoked_at).is_not(None))
