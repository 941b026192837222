"""Who orders: most of them now and then, and three of whom lists are long, sparse or old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Final

from bench.filling.ids import drawn_id
from bench.filling.shape import Shape

BIG, REGULAR, OLD = range(3)
"""Numbers of accounts: of one with a tenth of all orders, one with a thousandth, and one whose few orders were among
the very first."""
BIG_SHARE: Final = 0.1
REGULAR_SHARE: Final = 0.001
OLD_ORDERS: Final = 20
_GUESTS: Final = 0.03
_BEFORE: Final = timedelta(days=30)
"""How long before the first order the first account was opened."""


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account."""

    number: int
    id: str

    @property
    def email(self) -> str:
        """Its address."""
        return f"filled-customer-{self.number}@example.test"


class People:
    """The accounts, and who places the next order."""

    def __init__(self, shape: Shape, random: Random) -> None:
        self._random = random
        self._shape = shape
        first = shape.began_at - _BEFORE
        step = _BEFORE / shape.customers
        self.accounts: Sequence[Account] = [
            Account(number, drawn_id(random, first + step * number)) for number in range(shape.customers)
        ]
        step_of_olds = max(shape.orders // (100 * OLD_ORDERS), 1)
        self._olds = frozenset(range(0, step_of_olds * OLD_ORDERS, step_of_olds))

    def next_customer(self, number: int) -> Account | None:
        """Who places the order of this number; None: a guest."""
        if number in self._olds:
            return self.accounts[OLD]
        drawn = self._random.random()
        if drawn < BIG_SHARE:
            return self.accounts[BIG]
        if drawn < BIG_SHARE + REGULAR_SHARE:
            return self.accounts[REGULAR]
        if drawn < BIG_SHARE + REGULAR_SHARE + _GUESTS:
            return None
        return self.accounts[self._random.randrange(OLD + 1, len(self.accounts))]
