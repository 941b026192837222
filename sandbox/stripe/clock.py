"""The double's time, which can be moved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Unix seconds: the wall clock's plus every `advance`, or `start` plus every `advance`.

    A clock with a `start` stands still in between. Several accounts, and whatever else has to agree with them about
    the time, may share one.
    """

    def __init__(self, *, start: float | None = None) -> None:
        self._start = start
        self._advanced = 0.0
        self._subscribers: list[Callable[[], None]] = []

    def now(self) -> float:
        """The time, unix seconds."""
        return (time.time() if self._start is None else self._start) + self._advanced

    def advance(self, seconds: float) -> None:
        """Move the time on; what is due by then at a subscriber has happened on return.

        Raises:
            ValueError: `seconds` is less than zero: time does not run back.
        """
        if not seconds >= 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} seconds")
        self._advanced += seconds
        for notify in list(self._subscribers):
            notify()

    @contextmanager
    def subscribed(self, notify: Callable[[], None]) -> Iterator[None]:
        """Call `notify` after every `advance` while the context is open."""
        self._subscribers.append(notify)
        try:
            yield
        finally:
            self._subscribers.remove(notify)
