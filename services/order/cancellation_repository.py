"""SQL of requests to cancel an order: one per order. Every method runs on the caller's connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from runtime.database import Connection
from runtime.due_work import DueTable
from runtime.idempotency import CLAIM_KEY, IdempotentRequest
from runtime.rows import columns, parameters
from services.order.model import CancellationRequest, OpenCancellationRequest, StoredCancellationRequest
from services.order.tables import CancellationRequestColumns

_ADD: Final = f"""
    WITH claimed AS ({CLAIM_KEY}),
    request AS (
        INSERT INTO cancellation_requests ({columns(CancellationRequestColumns)}, requested_at, attempts,
                                           next_attempt_at, traceparent)
        SELECT {parameters(CancellationRequestColumns)}, now(), 0, now() + %(ask_after)s,
               %(traceparent)s::text
          FROM orders JOIN claimed ON claimed.subject_id = orders.id
         WHERE orders.status IN ('RECEIVED', 'PENDING')
        ON CONFLICT DO NOTHING
    )
    SELECT FROM claimed
"""  # noqa: S608 - put together from constants
OPEN_REQUESTS: Final = DueTable(
    table="cancellation_requests",
    key="order_id",
    pending="cancellation_requests.settled_at IS NULL",
    columns=f"{columns(CancellationRequestColumns, of='claimed')}, orders.status",
    joined="JOIN orders ON orders.id = claimed.order_id",
    make=OpenCancellationRequest,
)
"""Requests whose order was not seen closed since."""


class CancellationRepository:
    """Requests to cancel an order, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, new: CancellationRequest, request: IdempotentRequest, *, ask_after: timedelta) -> bool:
        """Claim the key, and store the request if its order is open and has none.

        Args:
            new: the request.
            request: claims the key.
            ask_after: when the saga is due to be asked again.

        Returns:
            False, and nothing is stored, when the key is claimed; waits for a concurrent duplicate that is just
            claiming it.
        """
        added = await self._connection.execute(
            _ADD, **request.claim(new.order_id), **new.model_dump(), ask_after=ask_after
        )
        return added == 1

    async def find(self, order_id: str) -> StoredCancellationRequest | None:
        """The order's request, if there is one."""
        return await self._connection.fetch_one(
            StoredCancellationRequest,
            f"""
            SELECT {columns(CancellationRequestColumns)}, requested_at FROM cancellation_requests
             WHERE order_id = %(order_id)s
            """,  # noqa: S608 - put together from constants
            order_id=order_id,
        )

    async def find_open(self, order_id: str) -> CancellationRequest | None:
        """The order's request, if there is one and the order is open."""
        return await self._connection.fetch_one(
            CancellationRequest,
            f"""
            SELECT {columns(CancellationRequestColumns, of="requested")}
              FROM cancellation_requests AS requested JOIN orders ON orders.id = requested.order_id
             WHERE requested.order_id = %(order_id)s AND orders.status IN ('RECEIVED', 'PENDING')
            """,  # noqa: S608 - put together from constants
            order_id=order_id,
        )

    async def settle(self, order_id: str) -> None:
        """Note that the order has closed."""
        await self._connection.execute(
            "UPDATE cancellation_requests SET settled_at = now() WHERE order_id = %(order_id)s", order_id=order_id
        )
