"""What the inventory service talks about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MovementKind(StrEnum):
    """What changed a product's stock."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"
    ADJUSTED = "adjusted"
    RESTOCKED = "restocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLevel:
    """Pieces of one product after movement number `seq`."""

    product_id: str
    on_hand: int
    reserved: int
    seq: int

    @property
    def available(self) -> int:
        """What can still be reserved."""
        return self.on_hand - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class StockChange:
    """A change of one product's stock, to be applied and written to the ledger."""

    product_id: str
    kind: MovementKind
    on_hand: int = 0
    reserved: int = 0
    order_id: str | None = None
    adjustment_id: str | None = None
    restock_id: str | None = None
    note: str = ""

    @property
    def quantity(self) -> int:
        """Pieces that the change is about: positive, but for an adjustment that takes away."""
        return abs(self.reserved) or self.on_hand


@dataclass(frozen=True, slots=True)
class Adjustment:
    """So many pieces more, or less, of one product."""

    product_id: str
    delta: int


@dataclass(frozen=True, slots=True)
class RestockedLine:
    """So many pieces of one product that a refund put back, of those that the order bought."""

    order_id: str
    product_id: str
    quantity: int
