"""Temporal is down: orders are accepted and Stripe's webhooks stored, and all are processed afterwards."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import order_of, until

pytestmark = pytest.mark.more

STORED = """
    SELECT status, last_error FROM provider_events
     WHERE type = 'payment_intent.succeeded' AND order_id = ANY(%s::uuid[]) AND last_error IS NOT NULL
"""


async def test_webhooks_are_stored_while_temporal_is_down_and_their_orders_get_paid_once_it_is_back(
    chaos: Chaos,
) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=10)
    orders = [(await client.place(customer, order_of(product_id, quantity=1), key=new_id())).json() for _ in range(3)]
    order_ids = [order["id"] for order in orders]

    async with chaos.down("temporal"):
        for order in orders:
            await client.pay(order)
        await until(lambda: asyncio.to_thread(client.outstanding_webhooks), lambda count: count == 0)
        # at least one attempt at waking each workflow has failed by now
        stored = await until(lambda: client.rows("payment", STORED, order_ids), lambda rows: len(rows) == len(orders))
        unpaid = [(await client.read_order(customer, order_id))["status"] for order_id in order_ids]

    assert [status for status, _ in stored] == ["RECEIVED"] * 3
    assert all(error.startswith("Temporal: ") for _, error in stored)
    assert unpaid == ["PENDING"] * 3
    for order_id in order_ids:
        await client.until_status(customer, order_id, "PAID")
    await chaos.orders_agree()


async def test_an_order_placed_while_temporal_is_down_is_accepted_and_gets_paid_once_it_is_back(chaos: Chaos) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=10)
    body, key = order_of(product_id, quantity=1), new_id()

    async with chaos.down("temporal"):
        placed = await client.place(customer, body, key=key, wait=0)
    again = await client.place(customer, body, key=key)

    order_id = placed.json()["id"]
    assert (placed.status_code, placed.json()["status"]) == (202, "RECEIVED")
    assert (again.status_code, again.json()["id"]) == (202, order_id)
    await client.pay(await client.until_payable(customer, order_id))
    await client.until_status(customer, order_id, "PAID")
    await chaos.orders_agree()
