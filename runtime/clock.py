"""What the time is: a port of each service whose time decides something, so that a test can move it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers with the moment that it is, as an aware datetime."""


def utc_now() -> datetime:
    """The moment that it is, in UTC."""
    return datetime.now(UTC)
