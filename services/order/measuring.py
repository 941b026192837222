"""How many orders have not ended, and since when; how much needs a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain.concerns import ConcernKind
from domain.orders import OPEN_STATUSES
from runtime.database import Connection
from runtime.measuring import Reading
from runtime.metrics import ATTENTION_OPEN, ORDERS_OLDEST_SECONDS, ORDERS_OPEN, ORDERS_OVERDUE_SECONDS
from services.order.attention.repository import AttentionRepository

# By the partial index ix_orders_open: 100,000 open orders among millions take some 30 ms.
_OPEN: Final = """
    SELECT status, count(*) AS orders, extract(epoch FROM now() - min(created_at))::float8 AS oldest_seconds,
           coalesce(extract(epoch FROM greatest(now() - min(payment_deadline), '0')), 0)::float8 AS overdue_seconds
      FROM orders WHERE status IN ('RECEIVED', 'PENDING') GROUP BY status
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenOrders:
    """The open orders in one status."""

    status: str
    orders: int = 0
    oldest_seconds: float = 0
    overdue_seconds: float = 0


async def read_open_orders(connection: Connection) -> list[Reading]:
    """Orders that have not ended, by status, and the one that waits for longest."""
    found = {row.status: row for row in await connection.fetch_all(_OpenOrders, _OPEN)}
    readings = []
    for status in OPEN_STATUSES:
        row = found.get(status) or _OpenOrders(status=status)
        readings += [
            Reading(ORDERS_OPEN, row.orders, (status.value,)),
            Reading(ORDERS_OLDEST_SECONDS, row.oldest_seconds, (status.value,)),
            Reading(ORDERS_OVERDUE_SECONDS, row.overdue_seconds, (status.value,)),
        ]
    return readings


async def read_attention(connection: Connection) -> list[Reading]:
    """What needs a person, by kind."""
    counted = await AttentionRepository(connection).count_open()
    return [Reading(ATTENTION_OPEN, counted.get(kind, 0), (kind.value,)) for kind in ConcernKind]
