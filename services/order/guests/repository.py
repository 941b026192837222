"""SQL of guests. Every method is one statement, on the caller's connection."""

from __future__ import annotations

from typing import Any, Final

from domain.orders import OrderStatus
from runtime.database import Connection
from runtime.due_work import Claimed, DueTable
from services.order.guests.model import GuestHistory, GuestLinkRequest, GuestOrder


def _to_guest_order(*, status: str, **columns: Any) -> GuestOrder:
    return GuestOrder(status=OrderStatus(status), **columns)


DUE_GUESTS: Final = DueTable(
    table="guests",
    key="order_id",
    pending="guests.email IS NOT NULL AND guests.looked_at IS NULL",
    columns="claimed.order_id, claimed.email, orders.status",
    joined="JOIN orders ON orders.id = claimed.order_id",
    make=_to_guest_order,
)
"""Guests' orders that may be an account's."""
DUE_LINK_REQUESTS: Final = DueTable(
    table="guest_link_requests",
    key="id",
    pending="true",
    columns="claimed.order_number, claimed.email",
    make=GuestLinkRequest,
)
_ADOPT: Final = f"""
    WITH adopted AS (
        UPDATE guests SET email = NULL, name = '', looked_at = now(), adopted_at = now(), last_error = NULL
         WHERE {DUE_GUESTS.still_claimed}
        RETURNING order_id
    )
    UPDATE orders SET user_id = %(user_id)s FROM adopted WHERE orders.id = adopted.order_id
"""  # noqa: S608 - put together from constants


class GuestRepository:
    """Guests, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_name(self, order_id: str) -> str:
        """What the guest who placed an order is called; empty if they did not say."""
        found: str | None = await self._connection.fetch_value(
            "SELECT name FROM guests WHERE order_id = %(order_id)s", order_id=order_id
        )
        return found or ""

    async def find_history(self, order_id: str) -> GuestHistory | None:
        """What has become of the guest who placed an order; None where it was placed by an account."""
        return await self._connection.fetch_one(
            GuestHistory,
            "SELECT adopted_at, erased_at, erased_by FROM guests WHERE order_id = %(order_id)s",
            order_id=order_id,
        )

    async def make_due(self, email: str) -> int:
        """Let an account be looked for that has this address; for how many orders."""
        return await self._connection.execute(
            "UPDATE guests SET looked_at = NULL, next_attempt_at = now() WHERE lower(email) = lower(%(email)s)",
            email=email,
        )

    async def set_looked(self, claimed: Claimed[GuestOrder]) -> bool:
        """Note that no account has the address; false when the claim is lost, for one because one may have it now."""
        changed = await self._connection.execute(
            f"UPDATE guests SET looked_at = now(), last_error = NULL WHERE {DUE_GUESTS.still_claimed}",  # noqa: S608 - from constants
            **claimed.parameters,
        )
        return changed == 1

    async def adopt(self, claimed: Claimed[GuestOrder], *, user_id: str) -> bool:
        """Let the account have the order; false when the claim is lost."""
        return await self._connection.execute(_ADOPT, **claimed.parameters, user_id=user_id) == 1

    async def request_link(self, request_id: str, request: GuestLinkRequest) -> None:
        """Let a link be due; a request that waits for the same is enough."""
        await self._connection.execute(
            """
            INSERT INTO guest_link_requests (id, order_number, email, attempts, next_attempt_at, traceparent)
            VALUES (%(request_id)s, %(order_number)s, %(email)s, 0, now(), %(traceparent)s::text)
            ON CONFLICT DO NOTHING
            """,
            request_id=request_id,
            order_number=request.order_number,
            email=request.email,
        )

    async def end_link_request(self, claimed: Claimed[GuestLinkRequest]) -> bool:
        """Forget a request; false when the claim is lost."""
        deleted = await self._connection.execute(
            f"DELETE FROM guest_link_requests WHERE {DUE_LINK_REQUESTS.still_claimed}",  # noqa: S608 - from constants
            **claimed.parameters,
        )
        return deleted == 1
