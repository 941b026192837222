"""The inventory service's use cases on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import OrderLine
from runtime.database import Database
from services.inventory.errors import (
    AdjustmentDiffers,
    OutOfStock,
    ReservationCommitted,
    ReservationDiffers,
    ReservationNotFound,
    ReservationReleased,
)
from services.inventory.service import InventoryService
from tests.rows import fetch_rows


@pytest_asyncio.fixture(scope="module")
async def database(databases: Mapping[str, str]) -> AsyncIterator[Database]:
    database = Database(databases["inventory"], pool_size=8)
    yield database
    await database.close()


@pytest.fixture
def inventory(database: Database) -> InventoryService:
    return InventoryService(database)


async def stocked(inventory: InventoryService, pieces: int) -> str:
    product_id = new_id()
    await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=pieces, note="delivery")
    return product_id


async def ledger(database: Database, product_id: str) -> list[tuple[int, str, int, int]]:
    return await fetch_rows(
        database,
        "SELECT seq, kind, on_hand_change, reserved_change FROM movements WHERE product_id = %(id)s ORDER BY seq",
        id=product_id,
    )


async def test_a_product_without_a_row_has_no_stock(inventory: InventoryService) -> None:
    level = await inventory.get_stock(new_id())

    assert (level.on_hand, level.reserved, level.available) == (0, 0, 0)


async def test_reserve_commit_takes_pieces_out_of_stock_with_a_ledger_row_each(
    inventory: InventoryService, database: Database
) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()

    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    reserved = await inventory.get_stock(product_id)
    await inventory.commit(order_id)
    committed = await inventory.get_stock(product_id)

    assert (reserved.on_hand, reserved.reserved, reserved.available) == (5, 2, 3)
    assert (committed.on_hand, committed.reserved, committed.available) == (3, 0, 3)
    assert await ledger(database, product_id) == [
        (1, "adjusted", 5, 0),
        (2, "reserved", 0, 2),
        (3, "committed", -2, -2),
    ]


async def test_a_line_out_of_stock_reserves_no_line_at_all(inventory: InventoryService) -> None:
    plenty, scarce = await stocked(inventory, 10), await stocked(inventory, 1)

    with pytest.raises(OutOfStock) as refused:
        await inventory.reserve(new_id(), [OrderLine(plenty, 3), OrderLine(scarce, 2)])

    assert refused.value.details == {"product_id": scarce, "requested": "2", "available": "1"}
    assert (await inventory.get_stock(plenty)).reserved == 0


async def test_repeats_of_every_step_change_nothing(inventory: InventoryService, database: Database) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()

    for _ in range(2):
        await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    for _ in range(2):
        await inventory.commit(order_id)
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    assert (await inventory.get_stock(product_id)).on_hand == 3
    assert len(await ledger(database, product_id)) == 3


async def test_release_gives_the_pieces_back_once(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    for _ in range(2):
        await inventory.release(order_id)

    assert (await inventory.get_stock(product_id)).available == 5


async def test_a_release_that_comes_first_refuses_the_late_reserve(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.release(order_id)

    with pytest.raises(ReservationReleased):
        await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    assert (await inventory.get_stock(product_id)).available == 5


async def test_sold_pieces_cannot_be_released(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    await inventory.commit(order_id)

    with pytest.raises(ReservationCommitted):
        await inventory.release(order_id)


async def test_commit_wants_an_active_reservation(inventory: InventoryService) -> None:
    order_id = new_id()

    with pytest.raises(ReservationNotFound):
        await inventory.commit(order_id)
    await inventory.release(order_id)
    with pytest.raises(ReservationReleased):
        await inventory.commit(order_id)


async def test_an_order_cannot_reserve_other_lines_than_at_first(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    with pytest.raises(ReservationDiffers):
        await inventory.reserve(order_id, [OrderLine(product_id, 3)])


async def test_an_adjustment_counts_once_and_never_undercuts_reservations(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    await inventory.reserve(new_id(), [OrderLine(product_id, 4)])
    adjustment_id = new_id()

    for _ in range(2):
        await inventory.adjust(adjustment_id=adjustment_id, product_id=product_id, delta=-1, note="broken")

    assert (await inventory.get_stock(product_id)).on_hand == 4
    with pytest.raises(AdjustmentDiffers):
        await inventory.adjust(adjustment_id=adjustment_id, product_id=product_id, delta=-2, note="broken")
    with pytest.raises(OutOfStock):
        await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=-1, note="broken")


async def test_parallel_buyers_never_oversell_nor_deadlock(inventory: InventoryService, database: Database) -> None:
    first, second = await stocked(inventory, 10), await stocked(inventory, 10)
    lines = [OrderLine(first, 1), OrderLine(second, 1)]

    outcomes = await asyncio.gather(
        *(inventory.reserve(new_id(), lines if number % 2 else lines[::-1]) for number in range(30)),
        return_exceptions=True,
    )

    assert outcomes.count(None) == 10
    assert all(isinstance(outcome, OutOfStock) for outcome in outcomes if outcome is not None)
    assert [(await inventory.get_stock(product)).available for product in (first, second)] == [0, 0]
    assert [row[0] for row in await ledger(database, first)] == list(range(1, 12))


async def test_reserve_and_release_at_once_leave_nothing_reserved(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 100)
    orders = [new_id() for _ in range(20)]

    outcomes = await asyncio.gather(
        *(inventory.reserve(order_id, [OrderLine(product_id, 1)]) for order_id in orders),
        *(inventory.release(order_id) for order_id in orders),
        return_exceptions=True,
    )

    assert all(outcome is None or isinstance(outcome, ReservationReleased) for outcome in outcomes)
    assert (await inventory.get_stock(product_id)).available == 100


async def test_each_change_of_stock_leaves_its_event_in_the_outbox(
    inventory: InventoryService, database: Database
) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    await inventory.release(order_id)

    events = await fetch_rows(
        database, "SELECT ce_id, ce_type FROM outbox WHERE key = %(id)s ORDER BY id", id=product_id
    )
    assert events == [
        (f"stock:{product_id}:1", "stock.adjusted"),
        (f"stock:{product_id}:2", "stock.reserved"),
        (f"stock:{product_id}:3", "stock.released"),
    ]
