"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class MovedClock:
    """See `runtime.clock.Clock`."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self._now

    def move(self, *, seconds: float) -> None:
        """Let so much time pass."""
        self._now += timedelta(seconds=seconds)
