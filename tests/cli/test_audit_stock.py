"""The audit of stock: what the inventory service did agrees, and what somebody did to its tables does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import LiteralString

import pytest
import pytest_asyncio

from cli.audit.facts import Breach, Facts
from cli.audit.invariants import stock_adds_up
from cli.audit.read_databases import read_inventory
from domain.ids import new_id
from domain.orders import OrderLine
from runtime.database import Database
from runtime.settings import Settings
from services.inventory.bootstrap import bootstrap
from tests.support.audit_facts import facts


@dataclass(frozen=True)
class Ledger:
    """An order of three units, of which two refunds put back two; and the audit of its product."""

    database: Database
    product_id: str
    order_id: str

    @classmethod
    async def of(cls, database: Database) -> Ledger:
        ledger = cls(database, new_id(), new_id())
        async with bootstrap(Settings(), database=database) as components:
            inventory = components.inventory
            await inventory.adjust(adjustment_id=new_id(), product_id=ledger.product_id, delta=5, note="delivery")
            await inventory.reserve(ledger.order_id, [OrderLine(ledger.product_id, 3)])
            await inventory.commit(ledger.order_id)
            for _ in range(2):
                await inventory.restock(new_id(), ledger.order_id, [OrderLine(ledger.product_id, 1)])
        return ledger

    async def facts(self) -> Facts:
        reservations, stock, restocks = await read_inventory(self.database.dsn)
        return facts(
            reservations={self.order_id: reservations[self.order_id]},
            stock=[row for row in stock if row.product_id == self.product_id],
            restocks=[row for row in restocks if row.product_id == self.product_id],
        )

    async def breaches(self) -> list[Breach]:
        return list(stock_adds_up(await self.facts()))

    async def plant(self, statement: LiteralString) -> None:
        async with self.database.autocommit() as connection:
            assert await connection.execute(statement, product=self.product_id, order=self.order_id) > 0


@pytest_asyncio.fixture
async def ledger(databases: Mapping[str, str]) -> AsyncIterator[Ledger]:
    database = Database(databases["inventory"], pool_size=1)
    yield await Ledger.of(database)
    await database.close()


async def test_pieces_that_came_back_are_on_hand_by_the_ledger(ledger: Ledger) -> None:
    facts = await ledger.facts()

    assert [(stock.on_hand, stock.on_hand_by_ledger, stock.committed_movements) for stock in facts.stock] == [(4, 4, 1)]
    assert [(restock.restocked, restock.sold) for restock in facts.restocks] == [(2, 3)]
    assert await ledger.breaches() == []


@pytest.mark.parametrize(
    ("statement", "back", "sold"),
    [
        ("UPDATE movements SET on_hand_change = 2 WHERE restock_id IS NOT NULL AND order_id = %(order)s", 4, 3),
        ("UPDATE reservation_lines SET quantity = 1 WHERE order_id = %(order)s", 2, 1),
        ("UPDATE reservations SET status = 'RELEASED' WHERE order_id = %(order)s", 2, 0),
        ("UPDATE movements SET order_id = %(product)s WHERE restock_id IS NOT NULL AND order_id = %(order)s", 2, 0),
    ],
    ids=["more back", "fewer sold", "none sold", "sold to another order"],
)
async def test_more_pieces_back_than_were_sold_is_a_breach(
    ledger: Ledger, statement: LiteralString, back: int, sold: int
) -> None:
    await ledger.plant(statement)

    [breach] = [breach for breach in await ledger.breaches() if "came back" in breach.what]

    assert (breach.invariant, breach.subject) == (3, f"product {ledger.product_id}")
    assert breach.what.startswith(f"{back} came back of {sold} ")


async def test_pieces_that_came_back_without_a_movement_are_a_breach(ledger: Ledger) -> None:
    await ledger.plant("UPDATE stock SET on_hand = on_hand + 1 WHERE product_id = %(product)s")

    [breach] = await ledger.breaches()

    assert breach.what == "on hand 5, but the ledger says 4"


async def test_a_sold_line_that_left_no_movement_is_a_breach_whatever_came_back(ledger: Ledger) -> None:
    await ledger.plant("UPDATE movements SET kind = 'adjusted' WHERE product_id = %(product)s AND kind = 'committed'")

    [breach] = await ledger.breaches()

    assert breach.what == "1 committed lines, 0 movements"
