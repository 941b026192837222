"""How many of Stripe's events wait to be processed, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.database import Connection
from runtime.database_measuring import MOST
from runtime.measuring import Reading
from runtime.metrics import PROVIDER_EVENTS_OLDEST_SECONDS, PROVIDER_EVENTS_OPEN

_STATES: Final = ("waiting", "failing")
_OPEN: Final = """
    SELECT CASE WHEN last_error IS NULL THEN 'waiting' ELSE 'failing' END AS state,
           count(*) AS events, extract(epoch FROM now() - min(received_at))::float8 AS oldest_seconds
      FROM (SELECT received_at, last_error FROM provider_events
             WHERE status = 'RECEIVED' ORDER BY next_attempt_at LIMIT %(most)s) AS received
     GROUP BY state
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenEvents:
    """The open events in one state."""

    state: str
    events: int = 0
    oldest_seconds: float = 0


async def read_open_events(connection: Connection) -> list[Reading]:
    """Events that are stored and not processed, and the one that waits for longest."""
    found = {row.state: row for row in await connection.fetch_all(_OpenEvents, _OPEN, most=MOST)}
    readings = []
    for state in _STATES:
        row = found.get(state) or _OpenEvents(state=state)
        readings += [
            Reading(PROVIDER_EVENTS_OPEN, row.events, (state,)),
            Reading(PROVIDER_EVENTS_OLDEST_SECONDS, row.oldest_seconds, (state,)),
        ]
    return readings
