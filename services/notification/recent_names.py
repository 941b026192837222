"""Names that were asked for a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

NAME_SECONDS: Final = 60.0
MAX_NAMES: Final = 10_000


class RecentNames:
    """Names of products by id, each for `NAME_SECONDS` from when it was asked for, `MAX_NAMES` of them at most.

    Not for people: what customers are called, and where they are reached, is never kept.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names: dict[str, tuple[str, float]] = {}
        """Name and end of each, the oldest first: all are kept equally long."""

    def get(self, product_id: str) -> str | None:
        """The name, unless it is unknown or too old."""
        name, ends_at = self._names.get(product_id, (None, 0.0))
        return name if self._clock() < ends_at else None

    def put(self, product_id: str, name: str) -> None:
        """Keep a name that was just read; the oldest one makes room."""
        self._names.pop(product_id, None)
        if len(self._names) >= MAX_NAMES:
            del self._names[next(iter(self._names))]
        self._names[product_id] = (name, self._clock() + NAME_SECONDS)
