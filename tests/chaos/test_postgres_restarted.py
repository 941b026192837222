"""PostgreSQL dies and comes back under orders: what was acknowledged stays, what was refused is tried again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

import httpx
import pytest

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import Customer, StackClient, order_of, until

pytestmark = pytest.mark.more

BUYERS = 4
ORDERS_EACH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Customers who buy at the same time; each tries again, with the same key, until the order is acknowledged."""

    client: StackClient
    customer: Customer
    product_id: str
    acknowledged: list[str] = field(default_factory=list)
    """Order ids."""
    refused: list[httpx.Response] = field(default_factory=list)

    async def buy(self) -> None:
        """One buyer's orders, one after the other."""
        for _ in range(ORDERS_EACH):
            placed = await until(partial(self._place, new_id()), lambda answer: answer.is_success)
            self.acknowledged.append(placed.json()["id"])

    async def acknowledgements(self) -> int:
        return len(self.acknowledged)

    async def refusals(self) -> int:
        return len(self.refused)

    async def _place(self, key: str) -> httpx.Response:
        answer = await self.client.place(self.customer, order_of(self.product_id, quantity=1), key=key, wait=2)
        if not answer.is_success:
            self.refused.append(answer)
        return answer


async def test_nothing_acknowledged_is_lost_and_what_was_refused_is_placed_once(chaos: Chaos) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=20)
    before = (await client.place(customer, order_of(product_id, quantity=1), key=new_id())).json()
    crowd = Crowd(client=client, customer=customer, product_id=product_id)

    async with asyncio.TaskGroup() as buying:
        for _ in range(BUYERS):
            buying.create_task(crowd.buy())
        await until(crowd.acknowledgements, lambda count: count >= 1)
        async with chaos.down("postgres"):
            await client.pay(before)
            await until(crowd.refusals, lambda count: count >= BUYERS)

    assert {answer.status_code for answer in crowd.refused} == {503}
    assert len(crowd.acknowledged) == BUYERS * ORDERS_EACH
    order_ids = [before["id"], *crowd.acknowledged]
    for order_id in crowd.acknowledged:
        await client.pay(await client.until_payable(customer, order_id))
    for order_id in order_ids:
        await client.until_status(customer, order_id, "PAID")
    stored = await client.rows("order", "SELECT id::text FROM orders WHERE user_id = %s", customer.id)
    assert sorted(order_id for (order_id,) in stored) == sorted(order_ids)
    assert await client.stock(product_id) == (20 - len(order_ids), 0)
    await chaos.orders_agree()
