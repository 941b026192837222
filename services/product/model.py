"""What the product service works with, and what is computed from that alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.orders import PricedLine
from runtime.rows import Value
from services.product.tables import ProductColumns


class Product(Value, ProductColumns):
    """A product in its version `seq`; the price in minor units of `currency` each."""

    def next_version(self, *, at: datetime, **changes: object) -> Product:
        """The product as changed at this moment."""
        return self.model_copy(update={**changes, "seq": self.seq + 1, "updated_at": at})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProduct:
    """A product to make; the price in minor units of `currency` each."""

    name: str
    description: str
    unit_price: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What of a product shall change; what is None stays."""

    name: str | None = None
    description: str | None = None
    unit_price: int | None = None
    active: bool | None = None

    def of(self, product: Product) -> dict[str, object]:
        """What would be otherwise."""
        wanted = {
            "name": self.name,
            "description": self.description,
            "unit_price": self.unit_price,
            "active": self.active,
        }
        return {name: value for name, value in wanted.items() if value not in (None, getattr(product, name))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a product costs each, in minor units of `currency`, what it is called, and whether it can be sold."""

    product_id: str
    name: str
    unit_price: int
    currency: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Products, and whether more follow the last of them."""

    products: list[Product]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLines:
    """Lines with today's prices and names, and the total of an order of them, shipping and discounts included.

    All in minor units of the one currency that was asked for.
    """

    lines: list[PricedLine]
    total: int
