"""SQL of what needs a person's attention. Every method runs on the caller's connection, as one statement."""

from __future__ import annotations

from runtime.database import Connection


class AttentionRepository:
    """Steps of orders' sagas that need a person, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def raise_for(self, *, order_id: str, step: str, cause: str) -> bool:
        """Record that a step needs a person, unless that is open already. False without such an order."""
        raised = await self._connection.execute(
            """
            WITH raised AS (
                INSERT INTO attention (order_id, step, cause, since)
                SELECT id, %(step)s, %(cause)s, now() FROM orders WHERE id = %(order_id)s
                ON CONFLICT (order_id, step) DO UPDATE
                   SET cause = excluded.cause, since = excluded.since, cleared_at = NULL
                 WHERE attention.cleared_at IS NOT NULL
            )
            SELECT FROM orders WHERE id = %(order_id)s
            """,
            order_id=order_id,
            step=step,
            cause=cause,
        )
        return raised == 1

    async def clear(self, *, order_id: str, step: str) -> None:
        """Record that the step succeeded, or does not matter any more."""
        await self._connection.execute(
            """
            UPDATE attention SET cleared_at = now()
             WHERE order_id = %(order_id)s AND step = %(step)s AND cleared_at IS NULL
            """,
            order_id=order_id,
            step=step,
        )

    async def find_orders(self, *, step: str) -> list[str]:
        """The orders whose step needs a person, the longest wait first."""
        rows: list[dict[str, str]] = await self._connection.fetch_all(
            dict,
            "SELECT order_id FROM attention WHERE step = %(step)s AND cleared_at IS NULL ORDER BY since",
            step=step,
        )
        return [row["order_id"] for row in rows]
