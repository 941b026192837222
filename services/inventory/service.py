"""Use cases of the inventory service, one transaction each; what an order does is one statement.

Locks are taken in one order everywhere (the id of the adjustment or refund, then stock sorted by product, then the
reservation), so none of them can deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from domain.orders import OrderLine
from domain.stock import MAX_ON_HAND, MovementKind, ReservationStatus
from runtime.database import Database
from runtime.refusal import InvalidArgument
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
from services.inventory.messages import to_event
from services.inventory.model import Adjustment, RestockedLine, Shortage, StockChange, StockLevel
from services.inventory.repository import InventoryRepository

TOO_MANY: Final = f"at most {MAX_ON_HAND} units of a product can be in stock"


class InventoryService:
    """Stock and reservations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_stock(self, product_id: str) -> StockLevel:
        """Stock of one product; zero when it never had any."""
        async with self._database.autocommit() as connection:
            return await InventoryRepository(connection).get_stock(product_id)

    async def adjust(
        self, *, adjustment_id: str, product_id: str, delta: int, note: str, actor: str | None = None
    ) -> StockLevel:
        """Add `delta` units to what is on hand, once per `adjustment_id`; who does it, and why, is kept with it.

        Raises:
            OutOfStock: less would be on hand than is reserved.
            AdjustmentDiffers: the id stands for another adjustment.
        """
        adjustment = Adjustment(product_id=product_id, delta=delta)
        async with self._database.transaction() as connection:
            repository = InventoryRepository(connection)
            await repository.lock_id(adjustment_id)
            await repository.lock_stock(product_id)
            known = await repository.find_adjustment(adjustment_id)
            if known is not None:
                if known != adjustment:
                    raise AdjustmentDiffers(adjustment_id)
                return await repository.get_stock(product_id)
            change = StockChange(
                product_id=product_id,
                kind=MovementKind.ADJUSTED,
                on_hand_change=delta,
                adjustment_id=adjustment_id,
                note=note,
                actor=actor,
            )
            [level] = await _apply(repository, [change])
            if level.on_hand > MAX_ON_HAND:
                raise InvalidArgument.of({"delta": TOO_MANY})
            return level

    async def reserve(self, order_id: str, lines: Sequence[OrderLine]) -> None:
        """Reserve all lines for the order, or none; a repeat changes nothing.

        Raises:
            OutOfStock: a product has fewer units available.
            ReservationReleased: the order's reservation was released before.
            ReservationDiffers: the order has a reservation of other lines.
        """
        wanted = sorted(lines, key=lambda line: line.product_id)
        async with self._database.autocommit() as connection:
            repository = InventoryRepository(connection)
            while (outcome := await repository.reserve(order_id, wanted, at=datetime.now(UTC))) is not True:
                status = await repository.find_status(order_id)
                if status is ReservationStatus.RELEASED:
                    raise ReservationReleased(order_id)
                if status is not None:
                    if await repository.get_lines(order_id) != wanted:
                        raise ReservationDiffers(order_id)
                    return
                if isinstance(outcome, Shortage):  # and no reservation of this order that has the last units
                    raise OutOfStock(**asdict(outcome))

    async def release(self, order_id: str) -> None:
        """Release the order's reservation; without one, refuse any that comes late. A repeat changes nothing.

        Raises:
            ReservationCommitted: the units are sold.
        """
        async with self._database.autocommit() as connection:
            repository = InventoryRepository(connection)
            while not await repository.release(order_id, at=datetime.now(UTC)):
                match await repository.find_status(order_id):
                    case ReservationStatus.COMMITTED:
                        raise ReservationCommitted(order_id)
                    case ReservationStatus.RELEASED:
                        return
                    case ReservationStatus.ACTIVE | None:
                        continue  # made while the statement waited for it, which did not see it: released after all

    async def commit(self, order_id: str) -> None:
        """Take the reserved units out of stock; a repeat changes nothing.

        Raises:
            ReservationNotFound: the order never reserved.
            ReservationReleased: its reservation was released.
        """
        async with self._database.autocommit() as connection:
            repository = InventoryRepository(connection)
            while not await repository.commit(order_id, at=datetime.now(UTC)):
                match await repository.find_status(order_id):
                    case ReservationStatus.COMMITTED:
                        return
                    case ReservationStatus.RELEASED:
                        raise ReservationReleased(order_id)
                    case None:
                        raise ReservationNotFound(order_id)
                    case ReservationStatus.ACTIVE:
                        continue  # reserved between the two statements: a sale after all

    async def restock(self, restock_id: str, order_id: str, lines: Sequence[OrderLine]) -> None:
        """Put sold units of the order back into stock, once per refund; a repeat changes nothing.

        Raises:
            ReservationNotFound: nothing was sold to the order.
            RestockExceedsSale: together with the order's other refunds more would come back than was sold.
            RestockDiffers: the refund put other units back, or those of another order.
            InvalidArgument: more than `MAX_ON_HAND` units of a product would be in stock.
        """
        wanted = sorted(lines, key=lambda line: line.product_id)
        async with self._database.transaction() as connection:
            repository = InventoryRepository(connection)
            await repository.lock_id(restock_id)
            known = await repository.find_restock(restock_id)
            if known:
                if known != [RestockedLine(order_id, line.product_id, line.quantity) for line in wanted]:
                    raise RestockDiffers(restock_id)
                return
            # Held before what is left is counted: other refunds of these products wait here, and count after this one.
            await repository.hold_stock([line.product_id for line in wanted])
            if await repository.find_status(order_id) is not ReservationStatus.COMMITTED:
                raise ReservationNotFound(order_id, committed=True)
            left = await repository.get_restockable(order_id)
            for line in wanted:
                if line.quantity > left.get(line.product_id, 0):
                    raise RestockExceedsSale(
                        product_id=line.product_id, asked=line.quantity, left=left.get(line.product_id, 0)
                    )
            changes = [
                StockChange(
                    product_id=line.product_id,
                    kind=MovementKind.RESTOCKED,
                    on_hand_change=line.quantity,
                    order_id=order_id,
                    restock_id=restock_id,
                )
                for line in wanted
            ]
            levels = await _apply(repository, changes)
            fields = {line.product_id: f"lines[{index}].quantity" for index, line in enumerate(lines)}
            if full := {fields[level.product_id]: TOO_MANY for level in levels if level.on_hand > MAX_ON_HAND}:
                raise InvalidArgument.of(full)


async def _apply(repository: InventoryRepository, changes: Sequence[StockChange]) -> list[StockLevel]:
    """Apply changes, all or (by raising) none, with ledger rows and events; the levels in the order of the changes."""
    applied = await repository.change_stock(changes)
    for change in changes:
        if change.product_id not in applied:
            stock = await repository.get_stock(change.product_id)
            requested = change.reserved_change - change.on_hand_change
            raise OutOfStock(product_id=change.product_id, requested=requested, available=stock.available)
    levels = [applied[change.product_id] for change in changes]
    at = datetime.now(UTC)
    applied_changes = list(zip(changes, levels, strict=True))
    events = [to_event(change, level, at=at) for change, level in applied_changes]
    await repository.add_movements(applied_changes, at=at, events=events)
    return levels
