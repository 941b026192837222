"""Forgetting who a customer is: their orders stay, with no name, address or words of theirs, and no metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.database import Connection, Database

_AT_A_TIME: Final = 1_000
# All but the country, which says nothing about a person, and by which taxes are reckoned.
_ERASE: Final = """
    WITH found AS (
        SELECT id FROM orders
         WHERE user_id = %(user_id)s AND status NOT IN ('RECEIVED', 'PENDING') AND shipping_address->>'name' <> ''
         LIMIT %(most)s
           FOR UPDATE
    ),
    erased AS (
        UPDATE orders
           SET payment_method = NULL,
               shop_metadata = '{}',
               shipping_address = (SELECT jsonb_object_agg(key, CASE key WHEN 'country' THEN value ELSE '""' END)
                                     FROM jsonb_each(shipping_address))
         WHERE id IN (SELECT id FROM found)
        RETURNING id
    ),
    notes AS (
        UPDATE cancellation_requests SET note = '' WHERE order_id IN (SELECT id FROM found)
    )
    SELECT (SELECT count(*) FROM erased) = %(most)s AS more,
           (SELECT count(*) FROM orders
             WHERE user_id = %(user_id)s AND status IN ('RECEIVED', 'PENDING')) AS open_orders
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Whether there may be more that have ended, and how many are still open."""

    more: bool
    open_orders: int


class Erasure:
    """Forgets customers, some of their orders at a time; each may be repeated at any time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def erase(self, user_id: str) -> Erased:
        """Forget who ordered in orders that have ended; open ones need it still."""
        async with self._database.autocommit() as connection:
            return await _erase(connection, user_id)


async def _erase(connection: Connection, user_id: str) -> Erased:
    erased = await connection.fetch_one(Erased, _ERASE, user_id=user_id, most=_AT_A_TIME)
    if erased is None:
        raise LookupError("a SELECT without FROM has one row")
    return erased
