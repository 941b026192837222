"""One of each kind of stuck order: called for within a minute of the break, and freed by one command.

Each prints how long it took from the break until somebody was called, and from the action until the order was where it
should be and nobody was called for it any more.
Patience is 5 s here in place of a minute: what is measured is what comes on top of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from domain.ids import new_id
from sandbox.environment import process_environment
from tests.chaos.conftest import Chaos
from tests.support.client import Customer, Json, order_of, until
from tests.support.command import ordersaga
from tests.support.releases import COMMIT_RAISES, Shop, release, versioned_shop

pytestmark = [pytest.mark.more, pytest.mark.long]

PATIENCE = 5.0
WATCH = 2.0
LOST = "kind=order step=workflow"


@pytest.fixture(scope="module")
def limits() -> Mapping[str, str]:
    return {
        "ORDERSAGA_ATTENTION_AFTER": f"{PATIENCE:g}",
        "ORDERSAGA_WATCH_INTERVAL": f"{WATCH:g}",
        "ORDERSAGA_BUILD_ID": "1",
        "ORDERSAGA_MAX_OPEN_ORDERS": "1000",  # of the one customer here
    }


@dataclass(slots=True, kw_only=True)
class OnCall:
    """A person on call: the stack, its commands, and a customer with a product."""

    chaos: Chaos
    shop: Shop
    customer: Customer
    product_id: str
    _broke_at: float = 0.0
    _acted_at: float = 0.0
    _called_after: float = 0.0
    _moved_after: float | None = None

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command as the operator; its exit code and what it said."""
        environment = process_environment(self.chaos.client.stack.settings, "operator")
        ran = await asyncio.to_thread(ordersaga, *arguments, environment=environment)
        assert ran.returncode in (0, 1), ran.stderr
        return ran.returncode, ran.stdout

    async def attention(self, about: str) -> list[dict[str, Any]]:
        """What needs a person of a subject."""
        _, said = await self.run("attention", "--json", "--query", f"about={about}")
        found: list[dict[str, Any]] = json.loads(said)
        return found

    async def place(self, **changes: Any) -> str:
        """An order that is not waited for."""
        body = {**order_of(self.product_id, quantity=1), **changes}
        placed = await self.chaos.client.place(self.customer, body, key=new_id(), wait=0)
        order_id: str = placed.raise_for_status().json()["id"]
        return order_id

    async def pending(self, **changes: Any) -> Json:
        """An order that waits for its customer."""
        return await self.chaos.client.until_payable(self.customer, await self.place(**changes))

    async def pending_orders(self, number: int) -> Sequence[Json]:
        return await asyncio.gather(*(self.pending() for _ in range(number)))

    async def cancel(self, order_id: str) -> None:
        """Ask for its cancellation, as its customer."""
        headers = {**self.customer.token, "Idempotency-Key": new_id(), "Prefer": "wait=0"}
        asked = await self.chaos.client.gateway.post(f"/v1/orders/{order_id}/cancel", json={}, headers=headers)
        asked.raise_for_status()

    async def ends(self, order_id: str, status: str) -> None:
        await self.chaos.client.until_status(self.customer, order_id, status)
        self._moved_after = time.monotonic() - self._acted_at

    def breaks(self) -> None:
        """Now something is broken."""
        self._broke_at, self._moved_after = time.monotonic(), None

    async def is_called_for(self, about: str, *, steps: Collection[str]) -> dict[str, Any]:
        """Wait until somebody is called for the subject, at one of these steps."""
        [first, *_] = await until(
            lambda: self._at(about, steps),
            lambda found: found != [],
        )
        self._called_after = time.monotonic() - self._broke_at
        return first

    async def _at(self, about: str, steps: Collection[str]) -> list[dict[str, Any]]:
        return [each for each in await self.attention(about) if each["step"].partition(" ")[0] in steps]

    async def act(self, *arguments: str) -> str:
        """Free it by a command."""
        self._acted_at = time.monotonic()
        code, said = await self.run(*arguments)
        assert code == 0, said
        return said

    def mends(self) -> None:
        """Free it by mending its cause."""
        self._acted_at = time.monotonic()

    async def are_called_for(self, orders: Collection[str], *, query: str) -> None:
        """Wait until somebody is called for all of them."""

        async def called() -> set[str]:
            _, said = await self.run("attention", "--json", "--query", query)
            return {each["id"] for each in json.loads(said)} & set(orders)

        await until(called, lambda found: found == set(orders))
        self._called_after = time.monotonic() - self._broke_at

    async def is_free(self, about: str, kind: str, record: Callable[[str, object], None]) -> None:
        """Wait until nobody is called for it any more, and say how long everything took."""
        await until(lambda: self.attention(about), lambda found: found == [])
        cleared_after = time.monotonic() - self._acted_at
        moved = "" if self._moved_after is None else f"goes on {self._moved_after:.1f} s, "
        record(
            "figure",
            f"{kind}: called for {self._called_after:.1f} s after the break; {moved}"
            f"off the list {cleared_after:.1f} s after the action",
        )


@pytest_asyncio.fixture(scope="module")
async def on_call(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OnCall]:
    async with versioned_shop(chaos.client, tmp_path_factory.mktemp("workers")) as shop:
        customer, product_id = await chaos.client.sign_up(), await chaos.client.add_product(units=1_000)
        yield OnCall(chaos=chaos, shop=shop, customer=customer, product_id=product_id)


async def delete_workflow(chaos: Chaos, order_id: str) -> None:
    client = chaos.client.temporal
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=f"order-{order_id}")
        )
    )


Record = Callable[[str, object], None]


async def test_a_service_that_is_down(on_call: OnCall, record_property: Record) -> None:
    async with on_call.chaos.down("inventory"):
        on_call.breaks()
        order_id = await on_call.place()
        called = await on_call.is_called_for(order_id, steps={"reserve"})
        part = await until(lambda: on_call.attention("inventory"), lambda found: found != [])
    on_call.mends()
    code, said = await on_call.run("retry", order_id, "--note", "inventory is back")
    await on_call.ends(order_id, "PENDING")

    await on_call.is_free(order_id, "service down", record_property)
    assert code == 0 or "there is nothing to retry" in said  # the step may have gone on by itself just before
    assert "inventory service UNAVAILABLE" in called["cause"]
    assert "ordersaga doctor inventory" in part[0]["to_do"]


async def test_a_step_that_is_parked(on_call: OnCall, record_property: Record) -> None:
    order = await on_call.pending()
    order_id = order["id"]
    dsn = on_call.chaos.client.stack.settings.required("inventory_dsn")
    held = "UPDATE reservations SET status = '{}' WHERE order_id = %s"
    await execute(dsn, held.format("COMMITTED"), order_id)  # a slip in the database, which no undo may take back
    on_call.breaks()
    await on_call.cancel(order_id)
    called = await on_call.is_called_for(order_id, steps={"release"})
    await execute(dsn, held.format("ACTIVE"), order_id)
    said = await on_call.act("retry", order_id, "--note", "the slip is mended")
    await on_call.ends(order_id, "CANCELLED")

    await on_call.is_free(order_id, "parked step", record_property)
    assert called["cause"].startswith("refused")
    assert called["by_itself"].startswith("nothing")
    assert "release got through" in said


@pytest.mark.parametrize("how", ["terminated", "deleted"])
async def test_a_workflow_that_is_lost(on_call: OnCall, how: str, record_property: Record) -> None:
    order = await on_call.pending()
    order_id = order["id"]
    if how == "terminated":
        await on_call.chaos.client.workflow(order_id).terminate("a slip of the hand")
    else:
        await delete_workflow(on_call.chaos, order_id)
    on_call.breaks()
    await on_call.chaos.client.pay(order)
    called = await on_call.is_called_for(order_id, steps={"workflow"})
    await on_call.act("repair", order_id, "--note", how)
    await on_call.ends(order_id, "PAID")

    await on_call.is_free(order_id, how, record_property)
    assert called["to_do"] == f"ordersaga repair {order_id}"
    _, page = await on_call.run("order", order_id, "--json")
    assert ("operator:sandbox", how) in [(entry["actor"], entry["note"]) for entry in json.loads(page)["timeline"]]


async def test_a_history_that_is_lost_for_all_orders(on_call: OnCall, record_property: Record) -> None:
    orders = await on_call.pending_orders(30)
    await asyncio.gather(*(delete_workflow(on_call.chaos, order["id"]) for order in orders))
    on_call.breaks()
    for order in orders:
        await on_call.chaos.client.pay(order)
    lost = {order["id"] for order in orders}
    await on_call.are_called_for(lost, query=LOST)
    await on_call.act("repair", "--query", LOST, "--note", "Temporal was restored")
    await asyncio.gather(*(on_call.ends(order_id, "PAID") for order_id in lost))

    await on_call.is_free(orders[0]["id"], "history lost (30 orders)", record_property)


async def test_a_worker_that_is_frozen(on_call: OnCall, record_property: Record) -> None:
    async with on_call.chaos.hanging("order-worker"):
        on_call.breaks()
        order_id = await on_call.place()
        called = await on_call.is_called_for(order_id, steps={"workflow_task"})
        on_call.mends()
    await on_call.ends(order_id, "PENDING")

    await on_call.is_free(order_id, "worker frozen", record_property)
    assert "no order worker" in called["cause"]


async def test_a_broker_that_is_down(on_call: OnCall, record_property: Record) -> None:
    async with on_call.chaos.hanging("kafka"):
        on_call.breaks()
        order = await on_call.pending()
        await on_call.is_called_for("relay", steps={"outbox"})
        consumer = await until(lambda: on_call.attention("notification"), lambda found: found != [])
        on_call.mends()
    await on_call.is_free("relay", "broker down", record_property)

    assert consumer[0]["step"] == "consumer"
    await until(lambda: on_call.attention("notification"), lambda found: found == [])
    await on_call.chaos.client.pay(order)
    await on_call.ends(order["id"], "PAID")


async def test_a_coding_bug_that_is_deployed_and_fixed(
    on_call: OnCall, tmp_path: Path, record_property: Record
) -> None:
    shop = on_call.shop
    await shop.deploy("2", release(tmp_path / "2", COMMIT_RAISES))
    try:
        await make_current(shop, "2")
        order = await on_call.pending()
        on_call.breaks()
        await on_call.chaos.client.pay(order)
        called = await on_call.is_called_for(order["id"], steps={"workflow_task"})

        await shop.deploy("3")
        await make_current(shop, "3")
        on_call.mends()
        assert (await shop.run("deployment", "drain", "2", "--to", "3")).returncode in (0, 1)
        await on_call.ends(order["id"], "PAID")

        await on_call.is_free(order["id"], "coding bug", record_property)
        assert "no such thing" in called["cause"]
    finally:
        await make_current(shop, "1")  # the stack's own worker


async def make_current(shop: Shop, build_id: str) -> None:
    """Let new orders run on that version."""
    changed = await shop.run("deployment", "current", build_id)
    assert changed.returncode == 0, changed.stderr


async def test_money_stock_and_orders_agree_after_all_of_it(on_call: OnCall) -> None:
    await on_call.chaos.orders_agree()


async def execute(dsn: str, statement: str, *parameters: object) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(statement.encode(), parameters)
