"""How long to wait before the next attempt: twice as long after each failure, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_MOST_DOUBLINGS: Final = 60
"""More doublings than any limit allows, so that a count of attempts that grows for weeks overflows nothing."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts, seconds: `first` after the first failure, doubled after each further one, at most
    `longest`.
    """

    first: float
    longest: float

    def delay(self, attempt: int) -> float:
        """Seconds from the failure of attempt number `attempt`, counted from 1, to the next attempt."""
        return min(self.first * 2.0 ** min(max(attempt - 1, 0), _MOST_DOUBLINGS), self.longest)

    def timedelta(self, attempt: int) -> timedelta:
        """The same as a `timedelta`."""
        return timedelta(seconds=self.delay(attempt))


class Retries:
    """Counts the failures in a row of something that is tried again and again."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self.failures = 0
        """So many in a row up to now."""

    def failed(self) -> float:
        """Count one more failure; the seconds to wait before the next attempt."""
        self.failures += 1
        return self._backoff.delay(self.failures)

    def succeeded(self) -> None:
        """Begin again with the first delay."""
        self.failures = 0
