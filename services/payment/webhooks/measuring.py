"""How many of Stripe's events wait to be processed, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.database import Connection
from runtime.database_measuring import MOST
from runtime.measuring import Reading
from runtime.metrics import PROVIDER_EVENTS_OLDEST_SECONDS, PROVIDER_EVENTS_WAITING

_WAITING: Final = """
    SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8 AS oldest_seconds
      FROM (SELECT received_at FROM provider_events
             WHERE status = 'RECEIVED' ORDER BY next_attempt_at LIMIT %(most)s) AS waiting
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    events: int
    oldest_seconds: float


async def read_waiting_events(connection: Connection) -> list[Reading]:
    """Events that are stored and not processed, and the one that waits for longest."""
    waiting = await connection.fetch_one(_Waiting, _WAITING, most=MOST)
    if waiting is None:
        return []
    return [
        Reading(PROVIDER_EVENTS_WAITING, waiting.events),
        Reading(PROVIDER_EVENTS_OLDEST_SECONDS, waiting.oldest_seconds),
    ]
