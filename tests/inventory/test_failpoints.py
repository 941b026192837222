"""The inventory service dies at every point of every step, and the step is repeated: stock and reservations agree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import OrderLine
from runtime.database import Database
from services.inventory.errors import OutOfStock, ReservationReleased, RestockExceedsSale
from services.inventory.repository import StockLevel
from services.inventory.service import InventoryService
from tests.support.failpoints import Case, Lifecycle, MortalDatabase, explore
from tests.support.rows import fetch_rows
from tests.support.stock_ledger import check_stock_ledger

DEATHS = 2

Figure = Callable[[str, object], None]


@pytest_asyncio.fixture(scope="module")
async def database(databases: Mapping[str, str]) -> AsyncIterator[Database]:
    database = Database(databases["inventory"], pool_size=4)
    yield database
    await database.close()


@dataclass(frozen=True)
class Shop:
    """An order of one or several products, of each of which there are five pieces."""

    database: Database
    order_id: str
    lines: list[OrderLine]

    @classmethod
    async def of(cls, database: Database, *, products: int) -> Shop:
        lines = [OrderLine(new_id(), quantity) for quantity in range(1, products + 1)]
        for line in lines:
            await InventoryService(database).adjust(
                adjustment_id=new_id(), product_id=line.product_id, delta=5, note="delivery"
            )
        return cls(database, new_id(), lines)

    def process(self, life: Lifecycle | None = None) -> InventoryService:
        """A process that begins to work; without a life one that will not die."""
        return InventoryService(self.database if life is None else MortalDatabase(self.database, life))

    async def reserve(self) -> None:
        await self.process().reserve(self.order_id, self.lines)

    async def sell(self) -> None:
        await self.reserve()
        await self.process().commit(self.order_id)

    async def expect(
        self, *, status: str, sold: bool = False, held: bool = False, restocked: Sequence[OrderLine] = ()
    ) -> None:
        """The order's reservation stands like this, once, and each product's stock fits it."""
        rows = await fetch_rows(
            self.database, "SELECT status FROM reservations WHERE order_id = %(id)s", id=self.order_id
        )
        assert rows == [(status,)]
        for line in self.lines:
            level = await self.process().get_stock(line.product_id)
            back = sum(again.quantity for again in restocked if again.product_id == line.product_id)
            on_hand = 5 - line.quantity * sold + back
            assert (level.on_hand, level.reserved) == (on_hand, line.quantity * held)
        await check_stock_ledger(self.database, [line.product_id for line in self.lines])


async def adjusting(database: Database, *, has_stock: bool) -> Case:
    product_id, adjustment_id = new_id(), new_id()
    levels: list[StockLevel] = []
    before = 0
    if has_stock:
        before = 2
        await InventoryService(database).adjust(adjustment_id=new_id(), product_id=product_id, delta=before, note="")

    async def step(life: Lifecycle) -> None:
        inventory = InventoryService(MortalDatabase(database, life))
        levels.append(
            await inventory.adjust(adjustment_id=adjustment_id, product_id=product_id, delta=3, note="delivery")
        )

    async def check() -> None:
        assert [level.on_hand for level in levels] == [before + 3]
        assert await InventoryService(database).get_stock(product_id) == levels[-1]
        await check_stock_ledger(database, [product_id])

    return Case(step=step, check=check)


async def reserving(database: Database, *, products: int) -> Case:
    shop = await Shop.of(database, products=products)
    return Case(
        step=lambda life: shop.process(life).reserve(shop.order_id, shop.lines),
        check=partial(shop.expect, status="ACTIVE", held=True),
    )


async def reserving_too_much(database: Database) -> Case:
    shop = await Shop.of(database, products=2)
    greedy = [*shop.lines, OrderLine(new_id(), 1)]

    async def step(life: Lifecycle) -> None:
        with pytest.raises(OutOfStock):
            await shop.process(life).reserve(shop.order_id, greedy)

    async def check() -> None:
        await shop.process().release(shop.order_id)
        await shop.expect(status="RELEASED")

    return Case(step=step, check=check)


async def releasing(database: Database) -> Case:
    shop = await Shop.of(database, products=3)
    await shop.reserve()
    return Case(
        step=lambda life: shop.process(life).release(shop.order_id), check=partial(shop.expect, status="RELEASED")
    )


async def releasing_nothing(database: Database) -> Case:
    shop = await Shop.of(database, products=3)

    async def check() -> None:
        with pytest.raises(ReservationReleased):
            await shop.reserve()
        await shop.expect(status="RELEASED")

    return Case(step=lambda life: shop.process(life).release(shop.order_id), check=check)


async def committing(database: Database) -> Case:
    shop = await Shop.of(database, products=3)
    await shop.reserve()
    return Case(
        step=lambda life: shop.process(life).commit(shop.order_id),
        check=partial(shop.expect, status="COMMITTED", sold=True),
    )


async def restocking(database: Database, *, restocked_before: int = 0) -> Case:
    shop = await Shop.of(database, products=3)
    await shop.sell()
    restock_id, back = new_id(), shop.lines[1:]
    before = [OrderLine(line.product_id, restocked_before) for line in shop.lines if restocked_before]
    if before:
        back = [OrderLine(line.product_id, line.quantity - restocked_before) for line in back]
        await shop.process().restock(new_id(), shop.order_id, before)
    return Case(
        step=lambda life: shop.process(life).restock(restock_id, shop.order_id, back),
        check=partial(shop.expect, status="COMMITTED", sold=True, restocked=[*before, *back]),
    )


async def restocking_too_much(database: Database) -> Case:
    shop = await Shop.of(database, products=2)
    await shop.sell()
    restock_id = new_id()
    greedy = [shop.lines[0], OrderLine(shop.lines[1].product_id, shop.lines[1].quantity + 1)]

    async def step(life: Lifecycle) -> None:
        with pytest.raises(RestockExceedsSale):
            await shop.process(life).restock(restock_id, shop.order_id, greedy)

    return Case(step=step, check=partial(shop.expect, status="COMMITTED", sold=True))


STORIES: dict[str, Callable[[Database], Awaitable[Case]]] = {
    "adjust a new product": partial(adjusting, has_stock=False),
    "adjust a known product": partial(adjusting, has_stock=True),
    "reserve one line": partial(reserving, products=1),
    "reserve three lines": partial(reserving, products=3),
    "reserve more than there is": reserving_too_much,
    "release a reservation": releasing,
    "release before the reserve": releasing_nothing,
    "commit": committing,
    "restock two of three lines": restocking,
    "restock what is left": partial(restocking, restocked_before=1),
    "restock more than was sold": restocking_too_much,
}


@pytest.mark.parametrize("story", STORIES)
async def test_a_step_that_dies_anywhere_and_is_repeated_happens_once(
    database: Database, story: str, record_property: Figure
) -> None:
    explored = await explore(partial(STORIES[story], database), deaths=DEATHS)

    record_property("figure", f"inventory dies, {story}: {explored}")
    assert explored.schedules[1] > 0
