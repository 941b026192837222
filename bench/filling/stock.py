"""The inventory database: reservations, and a ledger without gaps that the stock adds up from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

from bench.filling.goods import DELIVERED, Line, Product
from bench.filling.ids import drawn_id
from bench.filling.sheets import Events, Sheet, to_json
from bench.filling.story import Ending, FilledOrder, moment
from domain.events import STOCK_EVENTS
from domain.stock import MovementKind, ReservationStatus
from services.inventory.tables import MovementRow, Outbox, ReservationLineRow, ReservationRow, StockRow

_PUBLISHED_AFTER: Final = timedelta(milliseconds=200)


class StockDatabase:
    """Its sheets, in the order in which they can be written; the stock itself at the end, see `end`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._reservations = Sheet(ReservationRow, "order_id", "status", "created_at", "updated_at")
        self._lines = Sheet(ReservationLineRow, "order_id", "product_id", "quantity")
        self._movements = Sheet(
            MovementRow,
            *("product_id", "seq", "kind", "on_hand_change", "reserved_change", "order_id", "adjustment_id"),
            *("restock_id", "note", "at"),
        )
        self._stock = Sheet(StockRow, "product_id", "on_hand", "reserved", "seq")
        self._events = Events(Outbox, topic=STOCK_EVENTS, aggregate="stock", random=random)
        self.sheets: Sequence[Sheet] = [self._reservations, self._lines, self._movements, self._stock, self._events]

    def begin(self, products: Iterable[Product]) -> None:
        """What was delivered before the first order."""
        for product in products:
            adjustment_id = drawn_id(self._random, product.added_at)
            self._movements.add(
                *(product.id, 1, MovementKind.ADJUSTED, DELIVERED, 0, None, adjustment_id, None, "delivery"),
                product.added_at,
            )

    def add(self, order: FilledOrder) -> None:
        """One order's reservation, and what it moved."""
        if order.ending is Ending.OUT_OF_STOCK:
            return
        ended_at = order.history[2].at if len(order.history) > 2 else order.opened_at
        status = _status(order)
        self._reservations.add(order.id, status, order.opened_at, ended_at)
        for line in order.lines:
            self._lines.add(order.id, line.product.id, line.quantity)
            self._move(order, line, MovementKind.RESERVED, on_hand=0, reserved=line.quantity, at=order.opened_at)
            if status is ReservationStatus.COMMITTED:
                self._move(
                    order, line, MovementKind.COMMITTED, on_hand=-line.quantity, reserved=-line.quantity, at=ended_at
                )
            elif status is ReservationStatus.RELEASED:
                self._move(order, line, MovementKind.RELEASED, on_hand=0, reserved=-line.quantity, at=ended_at)
            if order.ending is Ending.REFUNDED and order.refund is not None:
                self._move(
                    order,
                    line,
                    MovementKind.RESTOCKED,
                    on_hand=line.quantity,
                    reserved=0,
                    at=order.refund.at,
                    restock_id=order.refund.id,
                )

    def end(self, products: Iterable[Product]) -> None:
        """What every product's stock has come to."""
        for product in products:
            self._stock.add(product.id, product.on_hand, product.reserved, product.seq)

    def _move(
        self,
        order: FilledOrder,
        line: Line,
        kind: MovementKind,
        *,
        on_hand: int,
        reserved: int,
        at: datetime,
        restock_id: str | None = None,
    ) -> None:
        product = line.product
        product.on_hand += on_hand
        product.reserved += reserved
        product.seq += 1
        self._movements.add(product.id, product.seq, kind, on_hand, reserved, order.id, None, restock_id, "", at)
        if order.is_recent:
            data = {
                "productId": product.id,
                "orderId": order.id,
                "quantity": str(line.quantity),
                "onHand": str(product.on_hand),
                "reserved": str(product.reserved),
                "at": moment(at),
            }
            self._events.add_event(
                f"stock.{kind}",
                of=product.id,
                seq=product.seq,
                key=product.id,
                cause=order.id,
                data=to_json(data),
                at=at,
                published_at=at + _PUBLISHED_AFTER,
            )


def _status(order: FilledOrder) -> ReservationStatus:
    if order.ending.is_sold:
        return ReservationStatus.COMMITTED
    return ReservationStatus.ACTIVE if order.ending is Ending.OPEN else ReservationStatus.RELEASED
