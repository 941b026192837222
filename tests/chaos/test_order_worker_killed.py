"""The order worker dies with orders in progress: the next one brings them to their end."""

from __future__ import annotations

import pytest

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import order_of, until

pytestmark = pytest.mark.more

# Longer than any test: Stripe answers when the fault is over, and what waits for it is in the middle until then.
STRIPE_KEEPS_SAGAS_WAITING = {"api": {"delay_ms": [600_000, 600_000], "operations": ["payment_intents.create"]}}


async def test_orders_whose_worker_was_killed_in_their_middle_end_paid_and_sell_their_units_once(chaos: Chaos) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=20)
    body = order_of(product_id, quantity=2)
    waiting = [(await client.place(customer, body, key=new_id())).json() for _ in range(2)]
    await client.break_stripe(STRIPE_KEEPS_SAGAS_WAITING)
    begun = [(await client.place(customer, body, key=new_id(), wait=0)).json()["id"] for _ in range(3)]
    opening = "SELECT order_id FROM payments WHERE order_id = ANY(%s::uuid[]) AND status = 'OPENING'"
    await until(lambda: client.rows("payment", opening, begun), lambda rows: len(rows) == len(begun))

    killed = await chaos.kill("order-worker")
    for order in waiting:
        await client.pay(order)
    await chaos.until_back("order-worker", killed=killed)
    in_the_middle = [(await client.read_order(customer, order_id))["status"] for order_id in begun]
    await client.break_stripe({})

    assert in_the_middle == ["RECEIVED"] * len(begun)
    for order_id in begun:
        await client.pay(await client.until_payable(customer, order_id))
    for order_id in [*begun, *(order["id"] for order in waiting)]:
        await client.until_status(customer, order_id, "PAID")
    assert await client.stock(product_id) == (10, 0)
    await chaos.orders_agree()
