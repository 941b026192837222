"""A workflow that was terminated: seen by the order service, and started again by `ordersaga repair`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from cli.audit.run import audit
from domain.ids import new_id
from sandbox.environment import process_environment
from tests.outside import Customer, Outside, order_of, running_stack, until


@pytest_asyncio.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outside]:
    async with running_stack(tmp_path_factory.mktemp("var")) as outside:
        yield outside


async def repair(outside: Outside, *orders: str) -> tuple[int | None, str]:
    """Run the command in a shell beside the stack; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "repair", *orders),
        env=process_environment(outside.stack.settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def open_attention(outside: Outside, order_id: str) -> list[str]:
    dsn = outside.stack.settings.audit_dsns["order"].get_secret_value()
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await connection.execute(
            "SELECT why FROM attention WHERE order_id = %s AND cleared_at IS NULL", [order_id]
        )
        return [why for (why,) in await rows.fetchall()]


async def pending_order(outside: Outside) -> tuple[Customer, str, dict[str, str]]:
    customer, product_id = await outside.sign_up(), await outside.add_product(pieces=5)
    placed = await outside.place(customer, order_of(product_id, quantity=2), key=new_id())
    return customer, product_id, placed.json()


async def test_an_order_whose_workflow_was_terminated_is_seen_and_repaired_at_its_price(outside: Outside) -> None:
    customer, product_id, order = await pending_order(outside)
    order_id = order["id"]
    await outside.temporal.get_workflow_handle(f"order-{order_id}").terminate("a slip of the hand")
    await outside.gateway.patch(f"/v1/products/{product_id}", json={"unit_price": 9_900}, headers=outside.admin)

    [why] = await until(lambda: open_attention(outside, order_id), lambda found: found != [])
    code, said = await repair(outside)
    await outside.pay(order)
    paid = await until(
        lambda: outside.read_order(customer, order_id), lambda read: read["status"] not in ("RECEIVED", "PENDING")
    )

    assert "terminated" in why
    assert f"ordersaga repair {order_id}" in why
    assert (code, f"{order_id}: its saga runs again" in said) == (0, True)
    assert (paid["status"], paid["total"]) == ("PAID", order["total"])
    assert await open_attention(outside, order_id) == []
    assert (await audit(outside.stack.settings))[1] == []


async def test_what_runs_or_ended_by_itself_is_left_alone(outside: Outside) -> None:
    customer, _, order = await pending_order(outside)

    running = await repair(outside, order["id"])
    await outside.pay(order)
    await until(lambda: outside.read_order(customer, order["id"]), lambda read: read["status"] == "PAID")
    await outside.temporal.get_workflow_handle(f"order-{order['id']}").result()
    ended = await repair(outside, order["id"])

    assert running == ended
    assert (ended[0], "nothing to repair" in ended[1]) == (0, True)


async def test_an_order_that_does_not_exist_is_named(outside: Outside) -> None:
    unknown = new_id()

    code, said = await repair(outside, unknown, "no-id")

    assert code == 1
    assert [f"{name}: there is no such order" in said for name in (unknown, "no-id")] == [True, True]
