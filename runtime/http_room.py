"""The connections of an HTTP server: how many there may be, and whose turn it is to go."""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol


class Phase(Enum):
    """What a connection is at."""

    HEAD = "a request's head is awaited, or half of it is here"
    BODY = "a request's body is awaited"
    ANSWER = "a request is being answered"
    IDLE = "everything is answered"
    CLOSING = "it is being closed"


EVICTED_FIRST: Final = (Phase.CLOSING, Phase.HEAD, Phase.IDLE, Phase.BODY)
"""Who goes for a new connection: nobody whose whole request is here. Of each phase the one that is longest in it."""


class Connection(Protocol):
    """What the room knows of a connection."""

    phase: Phase

    def evict(self) -> None:
        """Close it now."""

    def end_if_overdue(self, now: float) -> None:
        """Close it if its time is up on the event loop's clock."""


class Room:
    """Holds `size` connections, and lets each new one in by closing one that waits for its client."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._connections: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}

    def enter(self, connection: Connection) -> bool:
        """Take it in; false when there is no room: then it counts until `leave`, but is the first to go."""
        while not (has_room := self._is_free()) and self._evict_one():
            pass
        if not has_room:
            connection.phase = Phase.CLOSING
        self._connections[connection.phase][connection] = None
        return has_room

    def move(self, connection: Connection, phase: Phase) -> None:
        """Note that it is at something else now."""
        self._connections[connection.phase].pop(connection, None)
        self._connections[phase][connection] = None
        connection.phase = phase

    def leave(self, connection: Connection) -> None:
        """Forget it; can be repeated."""
        self._connections[connection.phase].pop(connection, None)
        connection.phase = Phase.CLOSING

    def end_overdue(self, now: float) -> None:
        """Close those whose time is up."""
        for connections in self._connections.values():
            for connection in list(connections):
                connection.end_if_overdue(now)

    def _is_free(self) -> bool:
        return sum(map(len, self._connections.values())) < self._size

    def _evict_one(self) -> bool:
        for phase in EVICTED_FIRST:
            for connection in self._connections[phase]:
                connection.evict()
                self.leave(connection)
                return True
        return False
