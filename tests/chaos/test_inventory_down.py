"""The inventory service stays away: on-call sees which orders wait and why, and they go on by themselves afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from temporalio.api.workflow.v1 import PendingActivityInfo

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import StackClient, order_of, until

pytestmark = pytest.mark.more

OPEN = "SELECT order_id::text, step FROM concerns WHERE order_id = ANY(%s::uuid[]) AND cleared_at IS NULL"
CLEARED = "SELECT order_id::text, step FROM concerns WHERE order_id = ANY(%s::uuid[]) AND cleared_at IS NOT NULL"


@pytest.fixture(scope="module")
def limits() -> Mapping[str, str]:
    return {"ORDERSAGA_ATTENTION_AFTER": "2"}


async def found(client: StackClient, query: str) -> set[str]:
    """The orders whose workflows Temporal lists for a query, as on-call types it in the Web UI."""
    return {run.id.removeprefix("order-") async for run in client.temporal.list_workflows(query)}


async def failing_step(client: StackClient, order_id: str) -> PendingActivityInfo:
    """The order's one step that has been tried more than once."""

    async def read() -> list[PendingActivityInfo]:
        description = await client.workflow(order_id).describe()
        return [pending for pending in description.raw_description.pending_activities if pending.attempt > 1]

    [pending] = await until(read, lambda pending: len(pending) == 1)
    return pending


async def pending_in_web_ui(client: StackClient, order_id: str) -> list[dict[str, Any]]:
    """What the Web UI's page of the workflow has under Pending Activities."""
    async with httpx.AsyncClient(base_url=client.stack.endpoints.temporal_ui, trust_env=False) as browser:
        page = await browser.get(f"/api/v1/namespaces/default/workflows/order-{order_id}")
    pending: list[dict[str, Any]] = page.raise_for_status().json()["pendingActivities"]
    return pending


async def test_orders_that_wait_for_inventory_need_attention_until_it_is_back_and_then_get_paid(chaos: Chaos) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=10)
    body = order_of(product_id, quantity=1)

    async with chaos.down("inventory"):
        placed = [await client.place(customer, body, key=new_id(), wait=0) for _ in range(3)]
        order_ids = [answer.json()["id"] for answer in placed]
        listed = await until(lambda: found(client, "OrderAttention = 'reserve'"), lambda runs: len(runs) == 3)
        raised = await until(lambda: client.rows("order", OPEN, order_ids), lambda rows: len(rows) == 3)
        steps = [await failing_step(client, order_id) for order_id in order_ids]
        shown = [await pending_in_web_ui(client, order_id) for order_id in order_ids]
        moved = [(await client.read_order(customer, order_id))["status"] for order_id in order_ids]

    assert [answer.status_code for answer in placed] == [202] * 3
    assert listed == set(order_ids)
    assert sorted(raised) == sorted((order_id, "reserve") for order_id in order_ids)
    assert [step.activity_type.name for step in steps] == ["reserve"] * 3
    assert all("UNAVAILABLE" in step.last_failure.message for step in steps)
    for [pending] in shown:
        assert pending["activityType"]["name"] == "reserve"
        assert pending["attempt"] > 1
        assert "UNAVAILABLE" in pending["lastFailure"]["message"]
    assert moved == ["RECEIVED"] * 3

    for order_id in order_ids:
        await client.pay(await client.until_payable(customer, order_id))
        await client.until_status(customer, order_id, "PAID")
    cleared = await until(lambda: client.rows("order", CLEARED, order_ids), lambda rows: len(rows) == 3)
    assert sorted(cleared) == sorted(raised)
    await until(lambda: found(client, "OrderAttention IS NOT NULL"), lambda runs: not runs)
    assert await client.stock(product_id) == (7, 0)
    await chaos.orders_agree()
