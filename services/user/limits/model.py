"""What a bucket answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """What it gave, which may be none, and in how many microseconds it is full again."""

    granted: int
    full_in: int


@dataclass(frozen=True, slots=True)
class Exempt:
    """Nothing was counted: whoever asked need not ask."""
