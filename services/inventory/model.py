"""What the inventory service works with, and what is computed from that alone."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.rows import Value
from services.inventory.tables import ChangeColumns, StockColumns


class StockLevel(Value, StockColumns):
    """Stock of one product after movement number `seq`."""

    @property
    def available(self) -> int:
        """What can still be reserved."""
        return self.on_hand - self.reserved


class StockChange(Value, ChangeColumns):
    """A change of one product's stock, to be applied and recorded in the ledger."""

    @property
    def quantity(self) -> int:
        """Units that the change is about: positive, but for an adjustment that takes away."""
        return abs(self.reserved_change) or self.on_hand_change


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of what is on hand of one product, by `delta` units."""

    product_id: str
    delta: int


@dataclass(frozen=True, slots=True)
class RestockedLine:
    """A quantity of one product that a refund put back, of what the order bought."""

    order_id: str
    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which an order wants more units than there are."""

    product_id: str
    requested: int
    available: int
