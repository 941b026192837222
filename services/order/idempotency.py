"""SQL of idempotency keys: unique per user, route and key; a new order takes its key with `OrderRepository.accept`."""

from __future__ import annotations

from runtime.database import Connection
from services.order.model import KnownKey


class IdempotencyRepository:
    """Idempotency keys, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, *, user_id: str, route: str, key: str) -> KnownKey:
        """The order that a taken key stands for.

        Raises:
            LookupError: nobody took it.
        """
        known = await self._connection.fetch_one(
            KnownKey,
            """
            SELECT order_id, request_hash, accepted_only FROM idempotency_keys
             WHERE user_id = %(user_id)s AND route = %(route)s AND key = %(key)s
            """,
            user_id=user_id,
            route=route,
            key=key,
        )
        if known is None:
            raise LookupError(f"key {key!r} of user {user_id} stands for nothing")
        return known

    async def set_accepted_only(self, *, user_id: str, route: str, key: str) -> None:
        """Note that the key's first answer came before its order left RECEIVED."""
        await self._connection.execute(
            """
            UPDATE idempotency_keys SET accepted_only = true
             WHERE user_id = %(user_id)s AND route = %(route)s AND key = %(key)s
            """,
            user_id=user_id,
            route=route,
            key=key,
        )
