"""PostgreSQL dies and comes back under orders: what was acknowledged stays, what was refused is tried again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

import httpx
import pytest

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.outside import Customer, Outside, order_of, until

pytestmark = pytest.mark.more

BUYERS = 4
ORDERS_EACH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Places one order after the other, each until it is acknowledged, always with the same key."""

    outside: Outside
    customer: Customer
    product_id: str
    acknowledged: list[str] = field(default_factory=list)
    refused: list[httpx.Response] = field(default_factory=list)

    async def buy(self) -> None:
        for _ in range(ORDERS_EACH):
            key = new_id()
            placed = await until(partial(self._place, key), lambda answer: answer.is_success)
            self.acknowledged.append(placed.json()["id"])

    async def _place(self, key: str) -> httpx.Response:
        answer = await self.outside.place(self.customer, order_of(self.product_id, quantity=1), key=key, wait=2)
        if not answer.is_success:
            self.refused.append(answer)
        return answer


async def test_nothing_acknowledged_is_lost_and_what_was_refused_is_placed_once(chaos: Chaos) -> None:
    outside = chaos.outside
    customer, product_id = await outside.sign_up(), await outside.add_product(pieces=20)
    before = (await outside.place(customer, order_of(product_id, quantity=1), key=new_id())).json()
    buyers = [Buyer(outside=outside, customer=customer, product_id=product_id) for _ in range(BUYERS)]

    async def count(what: str) -> int:
        return sum(len(getattr(buyer, what)) for buyer in buyers)

    async with asyncio.TaskGroup() as buying:
        for buyer in buyers:
            buying.create_task(buyer.buy())
        await until(lambda: count("acknowledged"), lambda orders: orders >= 1)
        async with chaos.down("postgres"):
            await outside.pay(before)
            await until(lambda: count("refused"), lambda answers: answers >= BUYERS)

    assert {answer.status_code for buyer in buyers for answer in buyer.refused} == {503}
    order_ids = [order_id for buyer in buyers for order_id in buyer.acknowledged]
    for order_id in order_ids:
        await outside.pay(await outside.until_status(customer, order_id, "PENDING"))
    for order_id in [before["id"], *order_ids]:
        await outside.until_status(customer, order_id, "PAID")
    stored = await outside.rows("order", "SELECT id::text FROM orders WHERE user_id = %s", customer.id)
    assert {order_id for (order_id,) in stored} == {before["id"], *order_ids}
    assert len(order_ids) == BUYERS * ORDERS_EACH
    assert await outside.stock(product_id) == (20 - len(stored), 0)
    await chaos.orders_agree()
