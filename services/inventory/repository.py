"""All SQL of the inventory service. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

from domain.orders import OrderLine
from domain.stock import MovementKind, ReservationStatus
from runtime.database import Connection, encode_rows
from runtime.outbox import Event, encode_events, with_events
from runtime.protos import to_timestamp
from runtime.rows import columns, recordset
from services.inventory.model import Adjustment, RestockedLine, Shortage, StockChange, StockLevel
from services.inventory.statements import COMMIT, RELEASE, RESERVE
from services.inventory.tables import MovementRow, StockRow

# In sorted order, so that transactions that want the same products wait for each other and never in a circle. The
# condition is in the UPDATE: after a wait PostgreSQL looks at it once more with the row as it is then. The ids are said
# twice, because it takes JSON for a hundred rows, and would rather read the stock of all products than look for these.
_CHANGE_STOCK: Final = f"""
    WITH change AS (
        SELECT * FROM json_to_recordset(%(changes)s::json)
                   AS change (product_id uuid, on_hand_change bigint, reserved_change bigint)
    ),
    held AS (
        SELECT stock.product_id, change.on_hand_change, change.reserved_change
          FROM stock JOIN change USING (product_id)
         WHERE stock.product_id = ANY(%(product_ids)s::uuid[])
         ORDER BY stock.product_id
           FOR UPDATE OF stock
    )
    UPDATE stock
       SET on_hand = on_hand + on_hand_change, reserved = reserved + reserved_change, seq = seq + 1
      FROM held
     WHERE stock.product_id = held.product_id
       AND stock.product_id = ANY(%(product_ids)s::uuid[])
       AND reserved + reserved_change <= on_hand + on_hand_change
    RETURNING {columns(StockRow, of="stock")}
"""  # noqa: S608 - put together from constants
_ADD_MOVEMENTS: Final = with_events(
    f"""
    changed AS (
        INSERT INTO movements ({columns(MovementRow)})
        SELECT {columns(MovementRow)}
          FROM json_to_recordset(%(movements)s::json) AS {recordset(MovementRow, alias="movement")}
        RETURNING product_id
    )
    """  # noqa: S608 - put together from constants
)


class InventoryRepository:
    """Stock, reservations and the ledger, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get_stock(self, product_id: str) -> StockLevel:
        """Stock of one product; without a row it is zero."""
        level = await self._connection.fetch_one(
            StockLevel,
            f"SELECT {columns(StockRow)} FROM stock WHERE product_id = %(product_id)s",  # noqa: S608 - constants
            product_id=product_id,
        )
        return level or StockLevel(product_id=product_id, on_hand=0, reserved=0, seq=0)

    async def lock_stock(self, product_id: str) -> None:
        """Hold the product's row, made if need be, until the end of the transaction."""
        await self._connection.execute(
            """
            INSERT INTO stock (product_id, on_hand, reserved, seq) VALUES (%(product_id)s, 0, 0, 0)
            ON CONFLICT DO NOTHING
            """,
            product_id=product_id,
        )
        await self._connection.execute(
            "SELECT FROM stock WHERE product_id = %(product_id)s FOR UPDATE", product_id=product_id
        )

    async def hold_stock(self, product_ids: Sequence[str]) -> None:
        """Hold these products' rows, those that there are, until the end of the transaction."""
        await self._connection.execute(
            "SELECT FROM stock WHERE product_id = ANY(%(product_ids)s::uuid[]) ORDER BY product_id FOR UPDATE",
            product_ids=list(product_ids),
        )

    async def change_stock(self, changes: Sequence[StockChange]) -> dict[str, StockLevel]:
        """Apply each change unless it would leave less on hand than reserved; the levels of those that were applied.

        Each product may be changed once.
        """
        rows = encode_rows(change.model_dump() for change in changes)
        product_ids = [change.product_id for change in changes]
        levels = await self._connection.fetch_all(StockLevel, _CHANGE_STOCK, changes=rows, product_ids=product_ids)
        return {level.product_id: level for level in levels}

    async def add_movements(
        self, changes: Sequence[tuple[StockChange, StockLevel]], *, at: datetime, events: Sequence[Event]
    ) -> None:
        """Record applied changes in the ledger, and their events in the outbox."""
        rows = encode_rows({**change.model_dump(), "seq": level.seq, "at": at} for change, level in changes)
        await self._connection.execute(_ADD_MOVEMENTS, movements=rows, events=encode_events(events))

    async def lock_id(self, cause_id: str) -> None:
        """Let no other transaction adjust or restock with this id, whichever products, until the end of this one."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%(cause_id)s, 0))", cause_id=cause_id
        )

    async def find_adjustment(self, adjustment_id: str) -> Adjustment | None:
        """An adjustment made before."""
        return await self._connection.fetch_one(
            Adjustment,
            """
            SELECT product_id, on_hand_change AS delta FROM movements WHERE adjustment_id = %(adjustment_id)s
            """,
            adjustment_id=adjustment_id,
        )

    async def reserve(self, order_id: str, lines: Sequence[OrderLine], *, at: datetime) -> Shortage | bool:
        """Make the order's reservation, ACTIVE, and take its units, unless it has one; waits for who is making one.

        Returns:
            Whether it was made; or else, and nothing is changed, the first of its products of which there are too few:
            then it may be that it was made meanwhile, of the last ones.
        """
        return (
            await self._connection.fetch_one(
                _to_reserved,
                RESERVE,
                **_movement(order_id, MovementKind.RESERVED, at=at),
                lines=encode_rows({"product_id": line.product_id, "quantity": line.quantity} for line in lines),
            )
            or False
        )

    async def commit(self, order_id: str, *, at: datetime) -> bool:
        """End the order's ACTIVE reservation, and take its units out of stock; false when it has none."""
        return await self._end(COMMIT, order_id, MovementKind.COMMITTED, ReservationStatus.COMMITTED, at=at)

    async def release(self, order_id: str, *, at: datetime) -> bool:
        """End the order's ACTIVE reservation, and give its units back, or leave a tombstone when it never had one.

        False, and nothing is changed, when it has another, or got one while this waited for that.
        """
        return await self._end(RELEASE, order_id, MovementKind.RELEASED, ReservationStatus.RELEASED, at=at)

    async def find_status(self, order_id: str) -> ReservationStatus | None:
        """Where the order's reservation stands; None without one."""
        status = await self._connection.fetch_value(
            "SELECT status FROM reservations WHERE order_id = %(order_id)s", order_id=order_id
        )
        return None if status is None else ReservationStatus(status)

    async def find_restock(self, restock_id: str) -> list[RestockedLine]:
        """What the refund put back before, sorted by product; nothing when it did not."""
        return await self._connection.fetch_all(
            RestockedLine,
            """
            SELECT order_id, product_id, on_hand_change AS quantity
              FROM movements WHERE restock_id = %(restock_id)s ORDER BY product_id
            """,
            restock_id=restock_id,
        )

    async def get_restockable(self, order_id: str) -> dict[str, int]:
        """By product, how many of the reservation's units no refund has put back yet."""
        lines = await self._connection.fetch_all(
            OrderLine,
            """
            SELECT line.product_id, line.quantity - coalesce(sum(movement.on_hand_change), 0)::int AS quantity
              FROM reservation_lines AS line
              LEFT JOIN movements AS movement
                ON movement.order_id = line.order_id AND movement.product_id = line.product_id
               AND movement.restock_id IS NOT NULL
             WHERE line.order_id = %(order_id)s
             GROUP BY line.product_id, line.quantity
            """,
            order_id=order_id,
        )
        return {line.product_id: line.quantity for line in lines}

    async def get_lines(self, order_id: str) -> list[OrderLine]:
        """The reservation's lines, sorted by product."""
        return await self._connection.fetch_all(
            OrderLine,
            "SELECT product_id, quantity FROM reservation_lines WHERE order_id = %(order_id)s ORDER BY product_id",
            order_id=order_id,
        )

    async def _end(
        self,
        statement: LiteralString,
        order_id: str,
        kind: MovementKind,
        status: ReservationStatus,
        *,
        at: datetime,
    ) -> bool:
        ended = await self._connection.execute(statement, **_movement(order_id, kind, at=at), status=status)
        return ended == 1


def _to_reserved(
    *, reserved: bool, product_id: str | None, requested: int | None, available: int | None
) -> Shortage | bool:
    if product_id is None or requested is None or available is None:
        return reserved
    return Shortage(product_id=product_id, requested=requested, available=available)


def _movement(order_id: str, kind: MovementKind, *, at: datetime) -> dict[str, object]:
    """The parameters that the statements of an order have in common."""
    return {"order_id": order_id, "kind": kind, "at": at, "said_at": to_timestamp(at).ToJsonString()}
