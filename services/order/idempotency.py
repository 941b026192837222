"""SQL of idempotency keys: unique per user, route and key, claimed in the transaction that makes the order."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select

from services.order.model import KnownKey
from services.order.tables import IdempotencyKey


class IdempotencyRepository:
    """Idempotency keys, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, *, user_id: str, route: str, key: str, request_hash: str, order_id: str) -> bool:
        """Let the key stand for the order, unless it stands for one; waits for a twin that is just claiming it."""
        row = {
            "user_id": user_id,
            "route": route,
            "key": key,
            "request_hash": request_hash,
            "order_id": order_id,
            "accepted_only": False,
            "created_at": func.now(),
        }
        statement = upsert(IdempotencyKey).values(row).on_conflict_do_nothing().returning(col(IdempotencyKey.key))
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def get(self, *, user_id: str, route: str, key: str) -> KnownKey:
        """The order that a claimed key stands for."""
        statement = select(IdempotencyKey.order_id, IdempotencyKey.request_hash, IdempotencyKey.accepted_only).where(
            _is_key(user_id, route, key)
        )
        row = (await self._connection.execute(statement)).one()
        return KnownKey(order_id=row.order_id, request_hash=row.request_hash, accepted_only=row.accepted_only)

    async def set_accepted_only(self, *, user_id: str, route: str, key: str) -> None:
        """Note that the key's first answer came before its order left RECEIVED."""
        await self._connection.execute(
            update(IdempotencyKey).where(_is_key(user_id, route, key)).values(accepted_only=True)
        )


def _is_key(user_id: str, route: str, key: str) -> ColumnElement[bool]:
    return (
        (col(IdempotencyKey.user_id) == user_id)
        & (col(IdempotencyKey.route) == route)
        & (col(IdempotencyKey.key) == key)
    )
