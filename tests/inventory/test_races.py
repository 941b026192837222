"""The inventory service under parallel calls that contradict each other."""

from __future__ import annotations

import asyncio
import random

import pytest

from domain.ids import new_id
from domain.orders import OrderLine
from domain.stock import ReservationStatus
from runtime.database import Database
from runtime.refusal import Refused
from runtime.settings import Settings
from services.inventory.errors import AdjustmentDiffers, RestockDiffers, RestockExceedsSale
from services.inventory.model import StockLevel
from services.inventory.repository import InventoryRepository
from services.inventory.service import InventoryService
from tests.support.rows import fetch_rows
from tests.support.stock_ledger import check_stock_ledger

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """As many connections as there are calls at once."""
    return settings.model_copy(update={"database_pool_size": 16})


async def test_parallel_adjustments_of_two_products_with_one_id_are_one_and_a_refusal(
    inventory: InventoryService,
) -> None:
    for _ in range(5):
        adjustment_id = new_id()
        calls = [inventory.adjust(adjustment_id=adjustment_id, product_id=new_id(), delta=1, note="") for _ in range(4)]

        answers = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(answer) for answer in answers if not isinstance(answer, StockLevel)] == [AdjustmentDiffers] * 3


async def test_a_commit_that_a_reserve_interrupts_takes_the_units(
    inventory: InventoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, product_id = new_id(), new_id()
    await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=5, note="")
    find_status = InventoryRepository.find_status

    async def reserve_first(repository: InventoryRepository, order_id: str) -> ReservationStatus | None:
        monkeypatch.undo()
        await inventory.reserve(order_id, [OrderLine(product_id, 2)])
        return await find_status(repository, order_id)

    monkeypatch.setattr(InventoryRepository, "find_status", reserve_first)

    await inventory.commit(order_id)

    level = await inventory.get_stock(product_id)
    assert (level.on_hand, level.reserved) == (3, 0)


async def test_duplicates_of_the_reserve_that_takes_the_last_units_have_its_answer(
    inventory: InventoryService, database: Database
) -> None:
    order_id, product_id = new_id(), new_id()
    await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=2, note="")

    async with database.transaction() as connection:  # for all of them to be under way before the first is done
        await InventoryRepository(connection).hold_stock([product_id])
        calls = [asyncio.create_task(inventory.reserve(order_id, [OrderLine(product_id, 2)])) for _ in range(8)]
        while await fetch_rows(database, WAITING) != [(8,)]:  # noqa: ASYNC110  # PostgreSQL notifies nobody
            await asyncio.sleep(0.01)
    await asyncio.gather(*calls)

    level = await inventory.get_stock(product_id)
    assert (level.on_hand, level.reserved) == (2, 2)
    await check_stock_ledger(database, [product_id])


async def test_duplicates_of_all_that_is_said_of_an_order_at_once_wait_in_a_line_and_not_in_a_circle(
    inventory: InventoryService, database: Database
) -> None:
    for _ in range(20):
        products = [new_id(), new_id()]
        for product_id in products:
            await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=9, note="")
        order_id, lines = new_id(), [OrderLine(product_id, 1) for product_id in products]
        calls = [inventory.reserve(order_id, lines) for _ in range(5)]
        calls += [inventory.commit(order_id) for _ in range(5)] + [inventory.release(order_id) for _ in range(2)]
        random.shuffle(calls)

        answers = await asyncio.gather(*calls, return_exceptions=True)

        assert [answer for answer in answers if not isinstance(answer, Refused | None)] == []
        await check_stock_ledger(database, products)


async def sell(inventory: InventoryService, *lines: OrderLine) -> str:
    """An order that bought these, of which nothing is left in stock."""
    order_id = new_id()
    for line in lines:
        await inventory.adjust(adjustment_id=new_id(), product_id=line.product_id, delta=line.quantity, note="")
    await inventory.reserve(order_id, lines)
    await inventory.commit(order_id)
    return order_id


async def test_parallel_refunds_of_an_order_put_back_what_was_sold_and_no_more(
    inventory: InventoryService, database: Database
) -> None:
    for _ in range(5):
        products = [new_id(), new_id()]
        order_id = await sell(inventory, *(OrderLine(product, 5) for product in products))
        lines = [OrderLine(product, 1) for product in products]
        refunds = [new_id() for _ in range(8)] * 2  # each asks twice

        answers = await asyncio.gather(
            *(
                inventory.restock(restock_id, order_id, lines if number % 2 else lines[::-1])
                for number, restock_id in enumerate(refunds)
            ),
            return_exceptions=True,
        )

        outcomes = [type(answer) for answer in answers]
        assert outcomes[:8] == outcomes[8:]
        assert sorted(outcomes[:8], key=repr) == [type(None)] * 5 + [RestockExceedsSale] * 3
        assert [(await inventory.get_stock(product)).on_hand for product in products] == [5, 5]
        await check_stock_ledger(database, products)


async def test_parallel_refunds_of_different_sizes_never_put_back_more_than_was_sold(
    inventory: InventoryService, database: Database
) -> None:
    for _ in range(5):
        product = new_id()
        order_id = await sell(inventory, OrderLine(product, 7))
        quantities = [1, 2, 3, 4, 1, 2, 3, 4]

        answers = await asyncio.gather(
            *(inventory.restock(new_id(), order_id, [OrderLine(product, quantity)]) for quantity in quantities),
            return_exceptions=True,
        )

        asked = list(zip(quantities, answers, strict=True))
        back = sum(quantity for quantity, answer in asked if answer is None)
        refused = [quantity for quantity, answer in asked if isinstance(answer, RestockExceedsSale)]
        assert back <= 7
        assert all(quantity > 7 - back for quantity in refused)
        assert sum(refused) + back == sum(quantities)  # nothing else happened to any of them
        assert (await inventory.get_stock(product)).on_hand == back
        await check_stock_ledger(database, [product])


async def test_parallel_restocks_of_several_orders_with_one_restock_id_are_one_and_a_refusal(
    inventory: InventoryService,
) -> None:
    for _ in range(5):
        products = [new_id() for _ in range(4)]
        orders = [await sell(inventory, OrderLine(product, 1)) for product in products]
        restock_id = new_id()

        answers = await asyncio.gather(
            *(
                inventory.restock(restock_id, order_id, [OrderLine(product, 1)])
                for order_id, product in zip(orders, products, strict=True)
            ),
            return_exceptions=True,
        )

        assert sorted(map(type, answers), key=repr) == [type(None)] + [RestockDiffers] * 3
        assert sum([(await inventory.get_stock(product)).on_hand for product in products]) == 1


async def test_parallel_steps_of_many_orders_neither_deadlock_nor_oversell(
    inventory: InventoryService, database: Database
) -> None:
    dice = random.Random(7)  # noqa: S311  # the same schedule each time
    products = [new_id() for _ in range(4)]
    for product in products:
        await inventory.adjust(adjustment_id=new_id(), product_id=product, delta=6, note="")
    orders = [new_id() for _ in range(12)]
    lines = {
        order: [OrderLine(product, dice.randint(1, 2)) for product in dice.sample(products, 3)] for order in orders
    }

    async def act() -> None:
        for _ in range(25):
            order = dice.choice(orders)
            try:
                match dice.choice(["reserve", "reserve", "release", "commit", "restock", "adjust"]):
                    case "reserve":
                        await inventory.reserve(order, lines[order])
                    case "release":
                        await inventory.release(order)
                    case "commit":
                        await inventory.commit(order)
                    case "restock":
                        part = [OrderLine(line.product_id, 1) for line in dice.sample(lines[order], 2)]
                        await inventory.restock(new_id(), order, part)
                    case _:
                        delta = dice.choice([-1, 1])
                        await inventory.adjust(
                            adjustment_id=new_id(), product_id=dice.choice(products), delta=delta, note=""
                        )
            except Refused:
                pass

    await asyncio.gather(*(act() for _ in range(16)))

    found = await fetch_rows(
        database,
        """SELECT s.on_hand, s.reserved, s.seq,
                  sum(m.on_hand_change) AS on_hand_sum, sum(m.reserved_change) AS reserved_sum, count(*),
                  (SELECT coalesce(sum(l.quantity), 0)
                     FROM reservation_lines l JOIN reservations r USING (order_id)
                    WHERE l.product_id = s.product_id AND r.status = 'ACTIVE') AS active,
                  (SELECT array_agg(ce_seq ORDER BY id) FROM outbox WHERE key = s.product_id::text) AS published
             FROM stock s JOIN movements m USING (product_id)
            WHERE s.product_id = ANY(%(products)s::uuid[]) GROUP BY s.product_id, s.on_hand, s.reserved, s.seq""",
        products=products,
    )
    for on_hand, reserved, seq, on_hand_sum, reserved_sum, count, active, published in found:
        assert (on_hand, reserved, seq) == (on_hand_sum, reserved_sum, count)
        assert reserved == active
        assert 0 <= reserved <= on_hand
        assert published == list(range(1, seq + 1))
