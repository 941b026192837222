"""The inventory service's steps in memory: stock, reservations with tombstones, and the ledger behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.orders import OrderLine
from domain.refusals import Refusal
from domain.saga import ReserveRequest, RestockRequest
from domain.stock import ReservationStatus
from tests.doubles.refusals import refused
from workflows.steps import StockSteps


@dataclass(slots=True)
class Stock:
    """Units of one product, and the kind and change of each of its movements."""

    on_hand: int = 0
    reserved: int = 0
    movements: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Reservation:
    """An order's reservation; without lines it is a tombstone."""

    status: ReservationStatus
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Restock:
    """What a refund put back."""

    order_id: str
    lines: Mapping[str, int]


class StockDouble(StockSteps):
    """See `workflows.steps.StockSteps`."""

    def __init__(self) -> None:
        self.stock: dict[str, Stock] = {}
        self.reservations: dict[str, Reservation] = {}
        self.restocks: dict[str, Restock] = {}
        """By refund id."""

    def deliver(self, product_id: str, units: int) -> None:
        """Put units on hand."""
        stock = self.stock.setdefault(product_id, Stock())
        stock.on_hand += units
        stock.movements.append(("adjusted", units))

    async def reserve(self, request: ReserveRequest) -> None:
        known = self.reservations.get(request.order_id)
        lines = _quantities(request.lines)
        if known is not None:
            if known.status is ReservationStatus.RELEASED:
                raise refused(Refusal.RESERVATION_RELEASED, f"order {request.order_id}")
            if known.lines != lines:
                raise refused(Refusal.RESERVATION_DIFFERS, f"order {request.order_id}")
            return
        for product_id, quantity in lines.items():
            stock = self.stock.get(product_id, Stock())
            if stock.on_hand - stock.reserved < quantity:
                raise refused(Refusal.OUT_OF_STOCK, f"product {product_id}")
        for product_id, quantity in lines.items():
            self._move(product_id, "reserved", reserved=quantity)
        self.reservations[request.order_id] = Reservation(ReservationStatus.ACTIVE, lines)

    async def release(self, order_id: str) -> None:
        known = self.reservations.get(order_id)
        if known is None:
            self.reservations[order_id] = Reservation(ReservationStatus.RELEASED, {})
        elif known.status is ReservationStatus.COMMITTED:
            raise refused(Refusal.RESERVATION_COMMITTED, f"order {order_id}")
        elif known.status is ReservationStatus.ACTIVE:
            known.status = ReservationStatus.RELEASED
            for product_id, quantity in known.lines.items():
                self._move(product_id, "released", reserved=-quantity)

    async def commit(self, order_id: str) -> None:
        known = self.reservations.get(order_id)
        if known is None:
            raise refused(Refusal.RESERVATION_NOT_FOUND, f"order {order_id}")
        if known.status is ReservationStatus.RELEASED:
            raise refused(Refusal.RESERVATION_RELEASED, f"order {order_id}")
        if known.status is ReservationStatus.ACTIVE:
            known.status = ReservationStatus.COMMITTED
            for product_id, quantity in known.lines.items():
                self._move(product_id, "committed", on_hand=-quantity, reserved=-quantity)

    async def restock(self, request: RestockRequest) -> None:
        wanted = Restock(request.order_id, _quantities(request.lines))
        if request.restock_id in self.restocks:
            if self.restocks[request.restock_id] != wanted:
                raise refused(Refusal.RESTOCK_DIFFERS, f"refund {request.restock_id}")
            return
        known = self.reservations.get(request.order_id)
        if known is None or known.status is not ReservationStatus.COMMITTED:
            raise refused(Refusal.RESERVATION_NOT_FOUND, f"order {request.order_id}")
        for product_id, quantity in wanted.lines.items():
            left = known.lines.get(product_id, 0) - self.restocked(request.order_id, product_id)
            if quantity > left:
                raise refused(Refusal.RESTOCK_EXCEEDS_SALE, f"product {product_id}: {quantity} of {left}")
        self.restocks[request.restock_id] = wanted
        for product_id, quantity in wanted.lines.items():
            self._move(product_id, "restocked", on_hand=quantity)

    def restocked(self, order_id: str, product_id: str) -> int:
        """Units of the product that all refunds of the order put back."""
        return sum(row.lines.get(product_id, 0) for row in self.restocks.values() if row.order_id == order_id)

    def _move(self, product_id: str, kind: str, *, on_hand: int = 0, reserved: int = 0) -> None:
        stock = self.stock[product_id]
        stock.on_hand += on_hand
        stock.reserved += reserved
        stock.movements.append((kind, on_hand))


def _quantities(lines: list[OrderLine]) -> dict[str, int]:
    return {line.product_id: line.quantity for line in sorted(lines, key=lambda line: line.product_id)}
