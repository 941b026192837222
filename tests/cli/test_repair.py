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
from tests.support.client import Customer, StackClient, order_of, running_stack, until


@pytest_asyncio.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StackClient]:
    async with running_stack(tmp_path_factory.mktemp("var")) as client:
        yield client


async def repair(client: StackClient, *orders: str) -> tuple[int | None, str]:
    """Run the command in a shell beside the stack; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "repair", *orders),
        env=process_environment(client.stack.settings, "operator"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def open_attention(client: StackClient, order_id: str) -> list[str]:
    dsn = client.stack.settings.required("order_dsn")
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await connection.execute(
            "SELECT cause FROM concerns WHERE order_id = %s AND cleared_at IS NULL", [order_id]
        )
        return [cause for (cause,) in await rows.fetchall()]


async def pending_order(client: StackClient) -> tuple[Customer, str, dict[str, str]]:
    customer, product_id = await client.sign_up(), await client.add_product(units=5)
    placed = await client.place(customer, order_of(product_id, quantity=2), key=new_id())
    return customer, product_id, placed.json()


async def test_an_order_whose_workflow_was_terminated_is_seen_and_repaired_at_its_price(client: StackClient) -> None:
    customer, product_id, order = await pending_order(client)
    order_id = order["id"]
    await client.temporal.get_workflow_handle(f"order-{order_id}").terminate("a slip of the hand")
    await client.gateway.patch(f"/v1/products/{product_id}", json={"unit_price": 9_900}, headers=client.admin)

    [cause] = await until(lambda: open_attention(client, order_id), lambda found: found != [])
    code, said = await repair(client)
    await client.pay(order)
    paid = await until(
        lambda: client.read_order(customer, order_id), lambda read: read["status"] not in ("RECEIVED", "PENDING")
    )

    assert "terminated" in cause
    assert (code, f"done     {order_id}  its saga runs again" in said) == (0, True)
    assert (paid["status"], paid["total"]) == ("PAID", order["total"])
    assert await open_attention(client, order_id) == []
    assert (await audit(client.stack.settings))[1] == []


async def test_what_runs_or_ended_by_itself_is_left_alone(client: StackClient) -> None:
    customer, _, order = await pending_order(client)

    running = await repair(client, order["id"])
    await client.pay(order)
    await until(lambda: client.read_order(customer, order["id"]), lambda read: read["status"] == "PAID")
    await client.temporal.get_workflow_handle(f"order-{order['id']}").result()
    ended = await repair(client, order["id"])

    assert running == ended
    assert (ended[0], "nothing to repair" in ended[1]) == (0, True)


async def test_an_order_that_does_not_exist_is_named(client: StackClient) -> None:
    unknown = new_id()

    code, said = await repair(client, unknown, "no-id")

    assert code == 1
    assert f"order {unknown} not found" in said
    assert "no-id  1 field(s) are wrong: order_id" in said
