"""What the inventory service promises, as a sequential model; and which answers of parallel calls keep to it.

Calls that ran in parallel keep to it when there is an order in which the model gives each of them its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from domain.stock import ReservationStatus
from runtime.refusal import Refused
from services.inventory.errors import (
    AdjustmentDiffers,
    OutOfStock,
    ReservationCommitted,
    ReservationDiffers,
    ReservationNotFound,
    ReservationReleased,
    RestockDiffers,
    RestockExceedsSale,
)

Lines = tuple[tuple[int, int], ...]
"""Product number and quantity."""
Level = tuple[int, int]
"""On hand, reserved."""
Answer = Level | type[Refused] | None


@dataclass(frozen=True)
class State:
    """All that the service remembers; products, orders, adjustments and refunds are numbers."""

    levels: Mapping[int, Level] = field(default_factory=dict)
    reservations: Mapping[int, tuple[ReservationStatus, Lines]] = field(default_factory=dict)
    adjustments: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    restocks: Mapping[int, tuple[int, Lines]] = field(default_factory=dict)

    def level(self, product: int) -> Level:
        """Nothing, for a product that never had any."""
        return self.levels.get(product, (0, 0))

    def moved(self, changes: Mapping[int, Level]) -> State | None:
        """With these changes of stock; None if one of them leaves less on hand than reserved."""
        levels = dict(self.levels)
        for product, (on_hand, reserved) in changes.items():
            before = self.level(product)
            levels[product] = before[0] + on_hand, before[1] + reserved
            if levels[product][1] > levels[product][0]:
                return None
        return replace(self, levels=levels)

    def restocked(self, order: int, product: int) -> int:
        """Units of the product that refunds of the order put back."""
        return sum(dict(lines).get(product, 0) for of, lines in self.restocks.values() if of == order)

    def ended(self, order: int, status: ReservationStatus, lines: Lines) -> State:
        """With the order's reservation like this."""
        return replace(self, reservations={**self.reservations, order: (status, lines)})


@dataclass(frozen=True)
class Adjust:
    """Units delivered, or lost."""

    number: int
    product: int
    delta: int

    def apply(self, state: State) -> tuple[State, Answer]:
        known = state.adjustments.get(self.number)
        if known is not None:
            return state, state.level(self.product) if known == (self.product, self.delta) else AdjustmentDiffers
        moved = state.moved({self.product: (self.delta, 0)})
        if moved is None:
            return state, OutOfStock
        adjustments = {**state.adjustments, self.number: (self.product, self.delta)}
        return replace(moved, adjustments=adjustments), moved.level(self.product)


@dataclass(frozen=True)
class Reserve:
    """All lines or none."""

    order: int
    lines: Lines

    def apply(self, state: State) -> tuple[State, Answer]:
        if self.order in state.reservations:
            status, lines = state.reservations[self.order]
            if status is ReservationStatus.RELEASED:
                return state, ReservationReleased
            return state, None if lines == self.lines else ReservationDiffers
        moved = state.moved({product: (0, quantity) for product, quantity in self.lines})
        if moved is None:
            return state, OutOfStock
        return moved.ended(self.order, ReservationStatus.ACTIVE, self.lines), None


@dataclass(frozen=True)
class Release:
    """Units released; or a late reserve refused."""

    order: int

    def apply(self, state: State) -> tuple[State, Answer]:
        status, lines = state.reservations.get(self.order, (None, ()))
        if status is ReservationStatus.COMMITTED:
            return state, ReservationCommitted
        if status is ReservationStatus.ACTIVE:
            moved = state.moved({product: (0, -quantity) for product, quantity in lines})
            assert moved is not None
            state = moved
        return state.ended(self.order, ReservationStatus.RELEASED, lines), None


@dataclass(frozen=True)
class Commit:
    """Units sold."""

    order: int

    def apply(self, state: State) -> tuple[State, Answer]:
        status, lines = state.reservations.get(self.order, (None, ()))
        if status is None:
            return state, ReservationNotFound
        if status is ReservationStatus.RELEASED:
            return state, ReservationReleased
        if status is ReservationStatus.ACTIVE:
            moved = state.moved({product: (-quantity, -quantity) for product, quantity in lines})
            assert moved is not None
            state = moved
        return state.ended(self.order, ReservationStatus.COMMITTED, lines), None


@dataclass(frozen=True)
class Restock:
    """Sold units put back by a refund."""

    refund: int
    order: int
    lines: Lines

    def apply(self, state: State) -> tuple[State, Answer]:
        known = state.restocks.get(self.refund)
        if known is not None:
            return state, None if known == (self.order, self.lines) else RestockDiffers
        status, sold = state.reservations.get(self.order, (None, ()))
        if status is not ReservationStatus.COMMITTED:
            return state, ReservationNotFound
        for product, quantity in self.lines:
            if state.restocked(self.order, product) + quantity > dict(sold).get(product, 0):
                return state, RestockExceedsSale
        moved = state.moved({product: (quantity, 0) for product, quantity in self.lines})
        assert moved is not None
        return replace(moved, restocks={**state.restocks, self.refund: (self.order, self.lines)}), None


Call = Adjust | Reserve | Release | Commit | Restock


def states_after(state: State, calls: Sequence[tuple[Call, Answer]]) -> list[State]:
    """Each state in which the model can be after these calls gave these answers in some order; none if they cannot."""
    if not calls:
        return [state]
    found: list[State] = []
    for number, (call, answer) in enumerate(calls):
        after, expected = call.apply(state)
        if expected == answer:
            found += [end for end in states_after(after, [*calls[:number], *calls[number + 1 :]]) if end not in found]
    return found
