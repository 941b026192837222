"""What one customer may have open at a time: each unpaid order holds stock that nobody else can buy."""

from __future__ import annotations

from dataclasses import dataclass

from domain.refusals import Refusal
from runtime.refusal import Refused


class TooManyOpenOrders(Refused):
    """The customer has as many unpaid orders as a customer may."""

    refusal = Refusal.TOO_MANY_OPEN_ORDERS

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"there are {limit} unpaid orders of yours already; pay or cancel one of them first", limit=str(limit)
        )


class TooManyHeldUnits(Refused):
    """With this order, the customer's unpaid orders would hold more units than a customer's may."""

    refusal = Refusal.TOO_MANY_HELD_UNITS

    def __init__(self, *, limit: int, held: int, wanted: int) -> None:
        super().__init__(
            f"unpaid orders of yours may hold {limit} units together; they hold {held}, and this one wants {wanted}",
            limit=str(limit),
            held=str(held),
            wanted=str(wanted),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the unpaid orders of a customer come to."""

    orders: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerLimits:
    """The most that the unpaid orders of one customer may come to."""

    orders: int
    units: int

    def find_excess(self, held: Holdings, *, wanted: int) -> Refused | None:
        """Why a customer who has so much may not have an order of so many units more."""
        if held.orders >= self.orders:
            return TooManyOpenOrders(limit=self.orders)
        if held.units + wanted > self.units:
            return TooManyHeldUnits(limit=self.units, held=held.units, wanted=wanted)
        return None
