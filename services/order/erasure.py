"""Forgetting who a customer is: their orders stay, with no name, address or words of theirs, and no metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, LiteralString

import structlog

from domain.ids import GREATEST_ID, LEAST_ID
from runtime.database import Connection, Database
from services.order.errors import OrderHasNoGuest, OrderNotFound, OrderStillOpen

log = structlog.stdlib.get_logger(__name__)

_AT_A_TIME: Final = 200
# All but the country, which says nothing about a person, and by which taxes are reckoned.
_FORGET: Final[LiteralString] = """
    erased AS (
        UPDATE orders
           SET payment_method = NULL,
               shop_metadata = '{}',
               shipping_address = (SELECT jsonb_object_agg(key, CASE key WHEN 'country' THEN value ELSE '""' END)
                                     FROM jsonb_each(shipping_address))
         WHERE id = ANY(ARRAY(SELECT id FROM found))
        RETURNING id
    ),
    notes AS (
        UPDATE cancellation_requests SET note = '' WHERE order_id = ANY(ARRAY(SELECT id FROM found))
    )
"""
"""What is forgotten of the orders `found`."""
# As one row, as in `services.order.lists`: somebody's orders alone are gone through, whatever PostgreSQL expects.
_ERASE: Final = f"""
    WITH found AS (
        SELECT id FROM orders
         WHERE (user_id, id) >= (%(user_id)s, '{LEAST_ID}')
           AND (user_id, id) <= (%(user_id)s, '{GREATEST_ID}')
           AND status NOT IN ('RECEIVED', 'PENDING') AND shipping_address->>'name' <> ''
         ORDER BY user_id, id LIMIT %(most)s
           FOR UPDATE
    ),
    {_FORGET}
    SELECT (SELECT count(*) FROM erased) = %(most)s AS more,
           (SELECT count(*) FROM orders
             WHERE user_id = %(user_id)s AND status IN ('RECEIVED', 'PENDING')) AS open_orders
"""  # noqa: S608 - put together from constants
_ERASE_GUEST: Final = f"""
    WITH found AS (
        SELECT id FROM orders JOIN guests ON order_id = id
         WHERE id = %(order_id)s AND status NOT IN ('RECEIVED', 'PENDING') AND adopted_at IS NULL
           FOR UPDATE
    ),
    guest AS (
        UPDATE guests
           SET email = NULL, name = '', erased_at = coalesce(erased_at, now()),
               erased_by = coalesce(erased_by, %(erased_by)s)
         WHERE order_id IN (SELECT id FROM found)
    ),
    {_FORGET}
    SELECT EXISTS (SELECT FROM guests WHERE order_id = id AND adopted_at IS NULL) AS is_guest,
           EXISTS (SELECT FROM found) AS is_erased
      FROM orders WHERE id = %(order_id)s
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Whether there may be more that have ended, and how many are still open."""

    more: bool
    open_orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ErasedGuest:
    is_guest: bool
    is_erased: bool


class Erasure:
    """Forgets customers, some of their orders at a time; each may be repeated at any time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def erase(self, user_id: str) -> Erased:
        """Forget who ordered in orders that have ended; open ones need it still."""
        async with self._database.autocommit() as connection:
            return await _erase(connection, user_id)

    async def erase_guest(self, order_id: str, *, actor: str) -> None:
        """Forget who placed an order as a guest, once it has ended; a repeat changes nothing.

        Raises:
            OrderNotFound: there is no such order.
            OrderStillOpen: it has not ended.
            OrderHasNoGuest: it is an account's, or has become one's.
        """
        async with self._database.autocommit() as connection:
            erased = await connection.fetch_one(_ErasedGuest, _ERASE_GUEST, order_id=order_id, erased_by=actor)
        if erased is None:
            raise OrderNotFound(order_id)
        if not erased.is_erased:
            raise OrderStillOpen(order_id) if erased.is_guest else OrderHasNoGuest(order_id)
        log.info("order.guest_erased", order_id=order_id, actor=actor)


async def _erase(connection: Connection, user_id: str) -> Erased:
    erased = await connection.fetch_one(Erased, _ERASE, user_id=user_id, most=_AT_A_TIME)
    if erased is None:
        raise LookupError("a SELECT without FROM has one row")
    return erased
