"""All SQL of the inventory service. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select

from domain.orders import OrderLine
from domain.stock import ReservationStatus
from runtime.outbox import Event, add_events
from services.inventory.tables import Movement, Outbox, Reservation, ReservationLine, Stock


class MovementKind(StrEnum):
    """What changed a product's stock."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"
    ADJUSTED = "adjusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLevel:
    """Pieces of one product after movement number `seq`."""

    product_id: str
    on_hand: int
    reserved: int
    seq: int

    @property
    def available(self) -> int:
        """What can still be reserved."""
        return self.on_hand - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class StockChange:
    """A change of one product's stock, to be applied and written to the ledger."""

    product_id: str
    kind: MovementKind
    on_hand: int = 0
    reserved: int = 0
    order_id: str | None = None
    adjustment_id: str | None = None
    note: str = ""


class InventoryRepository:
    """Stock, reservations and the ledger, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """The transaction's time."""
        return (await self._connection.execute(select(func.now()))).scalar_one()

    async def get_stock(self, product_id: str) -> StockLevel:
        """Stock of one product; without a row it is zero."""
        statement = select(Stock.on_hand, Stock.reserved, Stock.seq).where(col(Stock.product_id) == product_id)
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            return StockLevel(product_id=product_id, on_hand=0, reserved=0, seq=0)
        return StockLevel(product_id=product_id, on_hand=row.on_hand, reserved=row.reserved, seq=row.seq)

    async def lock_stock(self, product_id: str) -> None:
        """Hold the product's row, made if need be, until the end of the transaction."""
        row = {"product_id": product_id, "on_hand": 0, "reserved": 0, "seq": 0}
        await self._connection.execute(upsert(Stock).values(row).on_conflict_do_nothing())
        await self._connection.execute(select(Stock.seq).where(col(Stock.product_id) == product_id).with_for_update())

    async def change_stock(self, change: StockChange) -> StockLevel | None:
        """Apply a change unless it would leave less on hand than reserved; then nothing happens and None returns."""
        on_hand = col(Stock.on_hand) + change.on_hand
        reserved = col(Stock.reserved) + change.reserved
        statement = (
            update(Stock)
            .where(col(Stock.product_id) == change.product_id, reserved <= on_hand)
            .values(on_hand=on_hand, reserved=reserved, seq=col(Stock.seq) + 1)
            .returning(col(Stock.on_hand), col(Stock.reserved), col(Stock.seq))
        )
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            return None
        return StockLevel(product_id=change.product_id, on_hand=row.on_hand, reserved=row.reserved, seq=row.seq)

    async def add_movements(
        self, changes: Sequence[tuple[StockChange, StockLevel]], *, at: datetime, events: Sequence[Event]
    ) -> None:
        """Write applied changes to the ledger, and their events to the outbox."""
        rows = [
            {
                "product_id": change.product_id,
                "seq": level.seq,
                "kind": change.kind.value,
                "on_hand_change": change.on_hand,
                "reserved_change": change.reserved,
                "order_id": change.order_id,
                "adjustment_id": change.adjustment_id,
                "note": change.note,
                "at": at,
            }
            for change, level in changes
        ]
        if rows:
            await self._connection.execute(insert(Movement).values(rows))
            await add_events(self._connection, Outbox, events)

    async def lock_adjustment(self, adjustment_id: str) -> None:
        """Let no other transaction make an adjustment with this id, of whatever product, until the end of this one."""
        await self._connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(adjustment_id, 0))))

    async def find_adjustment(self, adjustment_id: str) -> tuple[str, int] | None:
        """Product and delta of an adjustment made before."""
        statement = select(Movement.product_id, Movement.on_hand_change).where(
            col(Movement.adjustment_id) == adjustment_id
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else (row.product_id, row.on_hand_change)

    async def add_reservation(self, order_id: str, status: ReservationStatus, *, at: datetime) -> bool:
        """Make the order's reservation, unless it has one; waits for a transaction that is just making it."""
        row = {"order_id": order_id, "status": status.value, "created_at": at, "updated_at": at}
        statement = upsert(Reservation).values(row).on_conflict_do_nothing().returning(col(Reservation.order_id))
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def add_lines(self, order_id: str, lines: Sequence[OrderLine]) -> None:
        """Write the lines of a new reservation."""
        rows = [{"order_id": order_id, "product_id": line.product_id, "quantity": line.quantity} for line in lines]
        await self._connection.execute(insert(ReservationLine).values(rows))

    async def lock_reservation(self, order_id: str) -> ReservationStatus | None:
        """The reservation's status, held until the end of the transaction; None without one."""
        statement = select(Reservation.status).where(col(Reservation.order_id) == order_id).with_for_update()
        status = (await self._connection.execute(statement)).scalar_one_or_none()
        return None if status is None else ReservationStatus(status)

    async def set_reservation_status(self, order_id: str, status: ReservationStatus, *, at: datetime) -> None:
        """Move a reservation that is locked."""
        await self._connection.execute(
            update(Reservation).where(col(Reservation.order_id) == order_id).values(status=status.value, updated_at=at)
        )

    async def get_lines(self, order_id: str) -> list[OrderLine]:
        """The reservation's lines, sorted by product: the order in which every transaction locks stock."""
        statement = (
            select(ReservationLine.product_id, ReservationLine.quantity)
            .where(col(ReservationLine.order_id) == order_id)
            .order_by(col(ReservationLine.product_id))
        )
        rows = (await self._connection.execute(statement)).all()
        return [OrderLine(product_id=row.product_id, quantity=row.quantity) for row in rows]
