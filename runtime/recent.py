"""What this process learnt or wrote a moment ago, and need not read again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by key, each for so long from when it was put, and so many at most: the oldest makes room.

    Args:
        seconds: how long each is kept.
        most: how many are.
        clock: seconds.
    """

    def __init__(self, *, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._kept: dict[str, tuple[Value, float]] = {}
        """Value and end of each, the oldest first: all are kept equally long."""

    def get(self, key: str) -> Value | None:
        """The value, unless it is unknown or too old."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None and self._clock() < kept[1] else None

    def put(self, key: str, value: Value) -> None:
        """Keep a value that is new now, in the place of the key's last one."""
        self._kept.pop(key, None)
        if len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (value, self._clock() + self._seconds)

    def forget(self, key: str) -> None:
        """Keep the key's value no longer."""
        self._kept.pop(key, None)
