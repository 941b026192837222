"""Reservation states (design §3). RELEASED is a tombstone: a late or repeated reserve of that order is refused."""

from __future__ import annotations

from enum import StrEnum


class ReservationStatus(StrEnum):
    """Status of an order's reservation."""

    ACTIVE = "ACTIVE"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"


class MovementKind(StrEnum):
    """What changed a product's stock."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"
    ADJUSTED = "adjusted"
    RESTOCKED = "restocked"


MAX_ON_HAND = 1_000_000_000
"""Units that one product can have in stock."""
