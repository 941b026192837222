"""What is sold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

from bench.filling.ids import drawn_id
from bench.filling.shape import Shape

CURRENCY: Final = "EUR"
DELIVERED: Final = 1_000_000_000
"""Units of each product that were put into stock before the first order."""
_BEFORE: Final = timedelta(days=60)


@dataclass(slots=True)
class Product:
    """A product, with what its stock has come to so far.

    Attributes:
        price: minor units.
        seq: number of its last movement.
    """

    id: str
    name: str
    price: int
    added_at: datetime
    on_hand: int = DELIVERED
    reserved: int = 0
    seq: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of one product."""

    product: Product
    quantity: int

    @property
    def total(self) -> int:
        """Minor units."""
        return self.product.price * self.quantity


class Catalogue:
    """The products, and what the next order is of."""

    def __init__(self, shape: Shape, random: Random) -> None:
        self._random = random
        first, step = shape.began_at - _BEFORE, _BEFORE / (2 * shape.products)
        self.products: Sequence[Product] = [
            Product(
                drawn_id(random, first + step * number),
                f"Product {number}",
                100 * random.randrange(1, 200),
                first + step * number,
            )
            for number in range(shape.products)
        ]

    def next_lines(self) -> list[Line]:
        """One to three products."""
        count = self._random.choices((1, 2, 3), (70, 20, 10))[0]
        return [Line(product, self._random.randrange(1, 4)) for product in self._random.sample(self.products, count)]
