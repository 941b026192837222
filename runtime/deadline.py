"""How long the caller of the gRPC call that is being served still waits: past that, work for it is in vain."""

from __future__ import annotations

import time
from contextvars import ContextVar

_ends_at: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_time_left(seconds: float | None) -> None:
    """Begin to count for this call; None for a caller that waits without a limit."""
    _ends_at.set(None if seconds is None else time.monotonic() + seconds)


def time_left() -> float | None:
    """Seconds, below zero when the caller has gone; None without a limit, or outside a call."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
