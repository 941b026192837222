"""The payment service or the order worker dies with refunds in progress: each is made once, order and stock follow."""

from __future__ import annotations

from functools import partial

import httpx
import pytest

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import Customer, order_of, until

pytestmark = pytest.mark.more

# Longer than any test: Stripe answers when the fault is over, and what waits for it is in the middle until then.
STRIPE_KEEPS_REFUNDS_WAITING = {"api": {"delay_ms": [600_000, 600_000], "operations": ["refunds.create"]}}


async def paid(chaos: Chaos, customer: Customer, product_id: str) -> str:
    """An order of two units that is PAID."""
    placed = (await chaos.client.place(customer, order_of(product_id, quantity=2), key=new_id())).json()
    await chaos.client.pay(placed)
    await chaos.client.until_status(customer, placed["id"], "PAID")
    return str(placed["id"])


async def refund(chaos: Chaos, order_id: str, product_id: str, *, amount: int, key: str) -> httpx.Response:
    """Ask for a refund that puts one unit back, without waiting for its outcome."""
    return await chaos.client.gateway.post(
        f"/v1/orders/{order_id}/refunds",
        json={"amount": amount, "restock": [{"product_id": product_id, "quantity": 1}]},
        headers={**chaos.client.admin, "Idempotency-Key": key, "Prefer": "wait=0"},
    )


async def count_running(chaos: Chaos) -> int:
    """Refunds in progress."""
    query = "WorkflowType = 'RefundSaga' AND ExecutionStatus = 'Running'"
    return (await chaos.client.temporal.count_workflows(query)).count


@pytest.mark.parametrize("victim", ["payment", "order-worker"])
async def test_refunds_in_whose_middle_a_component_was_killed_are_made_once(chaos: Chaos, victim: str) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=10)
    orders = [await paid(chaos, customer, product_id) for _ in range(3)]
    await client.break_stripe(STRIPE_KEEPS_REFUNDS_WAITING)
    keys = {order_id: new_id() for order_id in orders}
    for order_id, key in keys.items():
        assert (await refund(chaos, order_id, product_id, amount=100, key=key)).status_code == 202
    await until(lambda: count_running(chaos), lambda count: count == len(orders))

    killed = await chaos.kill(victim)
    await chaos.until_back(victim, killed=killed)
    await client.break_stripe({})
    for order_id, key in keys.items():
        repeat = partial(refund, chaos, order_id, product_id, amount=100, key=key)
        again = await until(repeat, lambda answer: answer.is_success)
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")

    for order_id in orders:
        await client.until_status(customer, order_id, "PARTIALLY_REFUNDED")
    await until(lambda: count_running(chaos), lambda count: count == 0)  # units go back after the order says so
    assert await client.stock(product_id) == (7, 0)
    await chaos.orders_agree()
