"""What the inventory service tells people on call: nothing stands still here; what it knows of an order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from domain.orders import OrderLine
from domain.stock import MovementKind, ReservationStatus
from runtime.database import Database
from runtime.on_call import Concern, OrderRecord, Section, TimelineEntry, events_section, read_events
from services.inventory.repository import InventoryRepository

_RESERVATION: Final = "SELECT status, created_at, updated_at FROM reservations WHERE order_id = %(order_id)s"
_MOVED: Final = "SELECT product_id, seq, kind, on_hand_change, reserved_change, restock_id, at FROM movements"
# By the two partial indexes that movements have on the order, one for each half.
_MOVEMENTS: Final = f"""
    {_MOVED} WHERE order_id = %(order_id)s AND restock_id IS NULL
    UNION ALL
    {_MOVED} WHERE order_id = %(order_id)s AND restock_id IS NOT NULL
    ORDER BY at, product_id, seq
"""
_DONE: Final = {
    MovementKind.RESERVED: "reserved",
    MovementKind.COMMITTED: "sold",
    MovementKind.RELEASED: "released",
    MovementKind.RESTOCKED: "put back into stock",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReservation:
    """An order's reservation."""

    status: ReservationStatus
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMovement:
    """A movement of one product's stock that an order caused; `restock_id` is the refund that put units back."""

    product_id: str
    seq: int
    kind: str
    on_hand_change: int
    reserved_change: int
    restock_id: str | None
    at: datetime


class InventoryOnCall:
    """See `runtime.on_call.OnCall`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """Nothing: all its work is done while it is asked for it."""
        return []

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        """The order's reservation, its lines, and what it moved."""
        async with self._database.autocommit() as connection:
            reservation = await connection.fetch_one(StoredReservation, _RESERVATION, order_id=order_id)
            if reservation is None:
                return None
            lines = await InventoryRepository(connection).get_lines(order_id)
            movements = await connection.fetch_all(OrderMovement, _MOVEMENTS, order_id=order_id)
            ids = [f"stock:{movement.product_id}:{movement.seq}" for movement in movements]
            events = await read_events(connection, ids)
        return OrderRecord(
            sections=[_of_reservation(reservation), _of_lines(lines), _of_movements(movements), events_section(events)],
            timeline=list(_timeline(movements)),
        )


def _of_reservation(reservation: StoredReservation) -> Section:
    row = (reservation.status, reservation.created_at, reservation.updated_at)
    return Section("reservation", ("status", "created_at", "updated_at"), [row])


def _of_lines(lines: Sequence[OrderLine]) -> Section:
    return Section("reserved lines", ("product", "quantity"), [(line.product_id, line.quantity) for line in lines])


def _of_movements(movements: Sequence[OrderMovement]) -> Section:
    return Section(
        "stock movements",
        ("product", "movement", "kind", "on_hand", "reserved", "refund", "at"),
        [
            (
                each.product_id,
                each.seq,
                each.kind,
                f"{each.on_hand_change:+}",
                f"{each.reserved_change:+}",
                each.restock_id,
                each.at,
            )
            for each in movements
        ],
    )


def _timeline(movements: Sequence[OrderMovement]) -> Iterator[TimelineEntry]:
    """One entry for what was moved at once."""
    for (at, kind), together in groupby(movements, key=lambda movement: (movement.at, MovementKind(movement.kind))):
        units = [f"{abs(each.reserved_change or each.on_hand_change)} of {each.product_id}" for each in together]
        yield TimelineEntry(at=at, type=f"stock.{kind.value}", text=f"{_DONE[kind]}: {', '.join(units)}")
