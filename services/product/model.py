"""What the product service talks about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from domain.orders import PricedLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product in its version `seq`; the price in minor units of `currency` per piece."""

    id: str
    name: str
    description: str
    unit_price: int
    currency: str
    active: bool
    seq: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a product costs per piece, in minor units of `currency`, and whether it can be sold."""

    product_id: str
    unit_price: int
    currency: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Products, and whether more follow the last of them."""

    products: list[Product]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What of a product shall change; what is None stays."""

    name: str | None = None
    description: str | None = None
    unit_price: int | None = None
    active: bool | None = None

    def apply(self, product: Product) -> Product:
        """The product with the changes."""
        return replace(
            product,
            name=product.name if self.name is None else self.name,
            description=product.description if self.description is None else self.description,
            unit_price=product.unit_price if self.unit_price is None else self.unit_price,
            active=product.active if self.active is None else self.active,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLines:
    """Lines with today's prices and their total, in minor units of the one currency that was asked for."""

    lines: list[PricedLine]
    total: int
