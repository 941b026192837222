"""The inventory service dies at every point of every step, and the step is repeated: stock and reservations agree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pytest

from domain.ids import new_id
from domain.orders import OrderLine
from runtime.database import Database
from runtime.settings import Settings
from services.inventory.bootstrap import InventoryComponents, bootstrap
from services.inventory.errors import OutOfStock, ReservationReleased, RestockExceedsSale
from services.inventory.model import StockLevel
from services.inventory.service import InventoryService
from tests.support.failpoints import Case, Lifecycle, MortalDatabase, explore
from tests.support.rows import fetch_rows
from tests.support.stock_ledger import check_stock_ledger

Figure = Callable[[str, object], None]
Answer = TypeVar("Answer")


async def in_process(
    database: Database, life: Lifecycle, step: Callable[[InventoryService], Awaitable[Answer]]
) -> Answer:
    """Let a process of this life, which begins with it, do a step."""
    async with bootstrap(Settings(), database=MortalDatabase(database, life)) as components:
        return await step(components.inventory)


@dataclass(frozen=True)
class Shop:
    """An order of one or several products, of each of which there are five units, and a service that will not die."""

    components: InventoryComponents
    order_id: str
    lines: list[OrderLine]

    @classmethod
    async def of(cls, components: InventoryComponents, *, products: int) -> Shop:
        lines = [OrderLine(new_id(), quantity) for quantity in range(1, products + 1)]
        for line in lines:
            await components.inventory.adjust(
                adjustment_id=new_id(), product_id=line.product_id, delta=5, note="delivery"
            )
        return cls(components, new_id(), lines)

    @property
    def inventory(self) -> InventoryService:
        return self.components.inventory

    def case(self, step: Callable[[InventoryService], Awaitable[object]], check: Callable[[], Awaitable[None]]) -> Case:
        return Case(step=lambda life: in_process(self.components.database, life, step), check=check)

    async def reserve(self) -> None:
        await self.inventory.reserve(self.order_id, self.lines)

    async def sell(self) -> None:
        await self.reserve()
        await self.inventory.commit(self.order_id)

    async def expect(
        self, *, status: str, sold: bool = False, held: bool = False, restocked: Sequence[OrderLine] = ()
    ) -> None:
        """The order's reservation stands like this, once, and each product's stock fits it."""
        rows = await fetch_rows(
            self.components.database, "SELECT status FROM reservations WHERE order_id = %(id)s", id=self.order_id
        )
        assert rows == [(status,)]
        for line in self.lines:
            level = await self.inventory.get_stock(line.product_id)
            back = sum(again.quantity for again in restocked if again.product_id == line.product_id)
            on_hand = 5 - line.quantity * sold + back
            assert (level.on_hand, level.reserved) == (on_hand, line.quantity * held)
        await check_stock_ledger(self.components.database, [line.product_id for line in self.lines])


async def adjusting(components: InventoryComponents, *, has_stock: bool) -> Case:
    product_id, adjustment_id = new_id(), new_id()
    database, inventory = components.database, components.inventory
    levels: list[StockLevel] = []
    before = 0
    if has_stock:
        before = 2
        await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=before, note="")

    async def step(mortal: InventoryService) -> None:
        levels.append(await mortal.adjust(adjustment_id=adjustment_id, product_id=product_id, delta=3, note="delivery"))

    async def check() -> None:
        assert [level.on_hand for level in levels] == [before + 3]
        assert await inventory.get_stock(product_id) == levels[-1]
        await check_stock_ledger(database, [product_id])

    return Case(step=lambda life: in_process(database, life, step), check=check)


async def reserving(components: InventoryComponents, *, products: int) -> Case:
    shop = await Shop.of(components, products=products)
    return shop.case(
        lambda mortal: mortal.reserve(shop.order_id, shop.lines), partial(shop.expect, status="ACTIVE", held=True)
    )


async def reserving_too_much(components: InventoryComponents) -> Case:
    shop = await Shop.of(components, products=2)
    greedy = [*shop.lines, OrderLine(new_id(), 1)]

    async def step(mortal: InventoryService) -> None:
        with pytest.raises(OutOfStock):
            await mortal.reserve(shop.order_id, greedy)

    async def check() -> None:
        await shop.inventory.release(shop.order_id)
        await shop.expect(status="RELEASED")

    return shop.case(step, check)


async def releasing(components: InventoryComponents) -> Case:
    shop = await Shop.of(components, products=3)
    await shop.reserve()
    return shop.case(lambda mortal: mortal.release(shop.order_id), partial(shop.expect, status="RELEASED"))


async def releasing_nothing(components: InventoryComponents) -> Case:
    shop = await Shop.of(components, products=3)

    async def check() -> None:
        with pytest.raises(ReservationReleased):
            await shop.reserve()
        await shop.expect(status="RELEASED")

    return shop.case(lambda mortal: mortal.release(shop.order_id), check)


async def committing(components: InventoryComponents) -> Case:
    shop = await Shop.of(components, products=3)
    await shop.reserve()
    return shop.case(lambda mortal: mortal.commit(shop.order_id), partial(shop.expect, status="COMMITTED", sold=True))


async def restocking(components: InventoryComponents, *, restocked_before: int = 0) -> Case:
    shop = await Shop.of(components, products=3)
    await shop.sell()
    restock_id, back = new_id(), shop.lines[1:]
    before = [OrderLine(line.product_id, restocked_before) for line in shop.lines if restocked_before]
    if before:
        back = [OrderLine(line.product_id, line.quantity - restocked_before) for line in back]
        await shop.inventory.restock(new_id(), shop.order_id, before)
    return shop.case(
        lambda mortal: mortal.restock(restock_id, shop.order_id, back),
        partial(shop.expect, status="COMMITTED", sold=True, restocked=[*before, *back]),
    )


async def restocking_too_much(components: InventoryComponents) -> Case:
    shop = await Shop.of(components, products=2)
    await shop.sell()
    restock_id = new_id()
    greedy = [shop.lines[0], OrderLine(shop.lines[1].product_id, shop.lines[1].quantity + 1)]

    async def step(mortal: InventoryService) -> None:
        with pytest.raises(RestockExceedsSale):
            await mortal.restock(restock_id, shop.order_id, greedy)

    return shop.case(step, partial(shop.expect, status="COMMITTED", sold=True))


SCENARIOS: dict[str, Callable[[InventoryComponents], Awaitable[Case]]] = {
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


@pytest.mark.parametrize("deaths", [1, pytest.param(2, marks=pytest.mark.more)])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_step_that_dies_anywhere_and_is_repeated_happens_once(
    components: InventoryComponents, scenario: str, deaths: int, record_property: Figure
) -> None:
    explored = await explore(partial(SCENARIOS[scenario], components), deaths=deaths)

    record_property("figure", f"inventory dies, {scenario}: {explored}")
    assert explored.schedules[deaths] > 0
