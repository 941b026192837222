"""The gateway dies between an order's insert and its answer: the customer tries again, and has one order."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import order_of, until

pytestmark = pytest.mark.more


async def test_an_order_whose_answer_died_with_the_gateway_is_found_again_by_its_key(chaos: Chaos) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=10)
    body, key = order_of(product_id, quantity=1), new_id()
    orders_of = "SELECT id::text FROM orders WHERE user_id = %s"

    # while inventory does not answer the saga cannot go on, so the request is still open when the gateway dies
    async with chaos.hanging("inventory"):
        unanswered = asyncio.create_task(client.place(customer, body, key=key, wait=30))
        [(order_id,)] = await until(lambda: client.rows("order", orders_of, customer.id), lambda rows: len(rows) > 0)
        killed = await chaos.kill("gateway")
        with pytest.raises(httpx.TransportError):
            await unanswered
        await chaos.until_back("gateway", killed=killed)
    again = await client.place(customer, body, key=key)

    assert (again.status_code, again.json()["id"]) == (201, order_id)
    assert again.headers["idempotency-replayed"] == "true"
    await client.pay(again.json())
    await client.until_status(customer, order_id, "PAID")
    assert await client.rows("order", orders_of, customer.id) == [(order_id,)]
    assert len(await client.rows("payment", "SELECT FROM payments WHERE user_id = %s", customer.id)) == 1
    assert await client.stock(product_id) == (9, 0)
    await chaos.orders_agree()
