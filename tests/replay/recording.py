"""`make histories VERSION=…`: a history of each way that a workflow can take, from an embedded stack, kept for good.

The demo's scenarios, and those in which a person has to do something: a step that is stuck, parked, resolved, or
refused again; an order that is repaired; refunds that fail.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psycopg
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from cli.audit.run import audit
from cli.demo.model import Customer, Line, PlacedOrder, Product
from cli.demo.run import fetch_histories, fetch_history
from cli.demo.scenarios import SCENARIOS, TROUBLED, VISA
from cli.demo.shop import Shop
from domain.ids import new_id
from domain.saga import ORDER_ATTENTION_ATTRIBUTE, order_workflow_id, refund_workflow_id
from runtime.temporal import connect_temporal
from sandbox.environment import process_environment
from sandbox.ports import Ports
from sandbox.supervisor import Stack
from tests.support.client import until
from tests.support.command import ordersaga

FOLDER: Final = Path(__file__).parent / "histories"
ATTENTION_AFTER: Final = "2"
"""Seconds; people are called as soon as that."""


@dataclass(slots=True, kw_only=True)
class Recording:
    """A running stack, its shop, and the histories so far, by name."""

    stack: Stack
    shop: Shop
    client: Client
    histories: dict[str, str] = field(default_factory=dict)

    async def keep(self, workflow_id: str, scenario: str, status: str) -> None:
        """The history of a workflow that has ended, and how its order did."""
        await self.client.get_workflow_handle(workflow_id).result()
        name = f"{workflow_id.partition('-')[0]} {scenario} {status}".lower().replace(" ", "-")
        self.histories[name] = await fetch_history(self.client, workflow_id)

    async def keep_order(self, customer: Customer, order: PlacedOrder, scenario: str) -> None:
        """The history of an order's workflow, once it is closed."""
        closed = await self.shop.wait_until_closed(customer, order.id)
        await self.keep(order_workflow_id(order.id), scenario, closed.status)

    async def needs_attention(self, workflow_id: str, step: str) -> None:
        """Return once a person is called for a step."""

        async def read() -> object:
            described = await self.client.get_workflow_handle(workflow_id).describe()
            return described.search_attributes.get(ORDER_ATTENTION_ATTRIBUTE)

        await until(read, lambda found: found == [step])

    async def is_retried(self, workflow_id: str) -> None:
        """Return once the local attempt of a step has failed, and it is retried."""

        async def read() -> int:
            described = await self.client.get_workflow_handle(workflow_id).describe()
            return len(described.raw_description.pending_activities)

        await until(read, bool)

    async def fail_by_hand(self, workflow_id: str, step: str) -> None:
        """What ``temporal activity fail`` does to the step that is retried; it is parked then."""

        async def try_to() -> bool:
            described = await self.client.get_workflow_handle(workflow_id).describe()
            for pending in described.raw_description.pending_activities:
                is_running = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
                if pending.activity_type.name == step and is_running:
                    handle = self.client.get_async_activity_handle(
                        workflow_id=workflow_id, run_id=described.run_id, activity_id=pending.activity_id
                    )
                    try:
                        await handle.fail(ApplicationError("enough of this", non_retryable=True))
                    except RPCError:  # that attempt has just ended
                        return False
                    return True
            return False

        await until(try_to, bool)

    async def decide(self, workflow_id: str, decision: str) -> None:
        """Send `retry` or `resolve` to a parked step."""
        await self.client.get_workflow_handle(workflow_id).execute_update(decision, id=new_id())


async def record_stuck_steps(recording: Recording) -> None:
    """The inventory service hangs under five orders, and people do something about four of them."""
    shop = recording.shop
    customer = await shop.add_customer("patient")
    products = [await shop.add_product(name, price=2_000, units=9) for name in ("Jug", "Bowl", "Dish", "Cup")]
    pid = recording.stack.endpoints.processes["inventory"]
    os.kill(pid, signal.SIGSTOP)
    try:
        stuck, retried, parked, cancelled = [
            await shop.order(customer, [Line(product_id=product.id, quantity=1)], payment_method=VISA, wait=0)
            for product in products
        ]
        unknown = await shop.order(customer, [Line(product_id=new_id(), quantity=1)], payment_method=VISA, wait=0)
        ids = [order_workflow_id(order.id) for order in (stuck, retried, parked, cancelled, unknown)]
        steps = ["reserve", "reserve", "reserve", "reserve", "release"]
        for number in (1, 2, 4):
            await recording.fail_by_hand(ids[number], steps[number])
        for number in (0, 1, 2, 4):
            await recording.needs_attention(ids[number], steps[number])
        await recording.decide(ids[4], "resolve")
        await recording.decide(ids[1], "retry")
        await recording.fail_by_hand(ids[1], "reserve")
        await recording.needs_attention(ids[1], "reserve")
        await recording.is_retried(ids[3])
        cancellations = [asyncio.create_task(shop.cancel(customer, order)) for order in (parked, cancelled)]
    finally:
        os.kill(pid, signal.SIGCONT)
    await recording.decide(ids[1], "retry")
    await asyncio.gather(*cancellations)
    await recording.keep_order(customer, stuck, "step fails for a while")
    await recording.keep_order(customer, retried, "retry is refused again then retried")
    await recording.keep_order(customer, parked, "cancelled while a step is parked")
    await recording.keep_order(customer, cancelled, "cancelled while a step is retried")
    await recording.keep_order(customer, unknown, "release parked then resolved")


async def record_repair(recording: Recording) -> None:
    """Somebody terminates an order's workflow."""
    customer, product = await _customer(recording, "terminated"), await _product(recording, "Tray")
    order = await recording.shop.order(customer, [Line(product_id=product.id, quantity=1)])
    await recording.client.get_workflow_handle(order_workflow_id(order.id)).terminate()
    environment = process_environment(recording.stack.settings, "operator")
    repaired = await asyncio.to_thread(ordersaga, "repair", order.id, environment=environment)
    assert repaired.returncode == 0, repaired.stderr
    await recording.shop.pay(await recording.shop.get_order(customer, order.id), VISA)
    await recording.keep_order(customer, order, "repaired")


async def record_failed_refund(recording: Recording, decision: str, scenario: str, *, ends: str) -> None:
    """The customer's bank sends a refund back, and a person decides what becomes of it."""
    customer, product = await _customer(recording, f"sent-back-{decision}"), await _product(recording, "Lamp")
    order = await recording.shop.order(customer, [Line(product_id=product.id, quantity=1)], payment_method=VISA)
    paid = await recording.shop.wait_until_closed(customer, order.id)
    await recording.shop.refund(paid, amount=1_000)
    dsn = recording.stack.endpoints.postgres["payment"]
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        query = "SELECT id::text, stripe_refund_id FROM refunds WHERE payment_id = %s"
        found = await (await connection.execute(query, (paid.payment_id,))).fetchone()
    assert found is not None
    refund_id, at_stripe = found
    async with httpx.AsyncClient(base_url=recording.stack.endpoints.stripe, trust_env=False) as stripe:
        switched = await stripe.post(f"/_sandbox/refunds/{at_stripe}", json={"status": "failed"})
        switched.raise_for_status()
    workflow_id = refund_workflow_id(refund_id)
    await recording.needs_attention(workflow_id, "carry_out_refund")
    await recording.decide(workflow_id, decision)
    await recording.keep(workflow_id, scenario, ends)
    await until(lambda: recording.shop.get_order(customer, order.id), lambda found: found.status == ends)


async def _customer(recording: Recording, role: str) -> Customer:
    return await recording.shop.add_customer(role)


async def _product(recording: Recording, name: str) -> Product:
    return await recording.shop.add_product(name, price=2_500, units=5)


async def record(version: str) -> dict[str, str]:
    """Every history, by its name."""
    os.environ.update(ORDERSAGA_ATTENTION_AFTER=ATTENTION_AFTER, ORDERSAGA_BUILD_ID=version)
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(var=Path(folder), ports=Ports.free(), split=True) as stack, Shop(stack.endpoints) as shop:
            recording = Recording(stack=stack, shop=shop, client=await connect_temporal(stack.settings))
            tried = await asyncio.gather(*(scenario(shop) for scenario in SCENARIOS))
            tried += [await scenario(shop) for scenario in TROUBLED]
            outcomes = [outcome for several in tried for outcome in several]
            recording.histories |= await fetch_histories(stack.settings, outcomes)
            rest: list[Callable[[], Awaitable[None]]] = [
                lambda: record_stuck_steps(recording),
                lambda: record_repair(recording),
                lambda: record_failed_refund(recording, "retry", "failed then replaced", ends="PARTIALLY_REFUNDED"),
                lambda: record_failed_refund(recording, "resolve", "failed then resolved", ends="PAID"),
            ]
            for each in rest:
                await each()
            _, breaches = await audit(stack.settings)
            if breaches or not all(outcome.is_expected for outcome in outcomes):
                raise SystemExit(f"nothing is kept: the stack did not do what it should: {breaches}")
            return recording.histories


def main(version: str) -> None:
    """Record into the folder of a version that has none."""
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        raise SystemExit("which release? make histories VERSION=0.2.0")
    folder = FOLDER / version
    if folder.exists():
        raise SystemExit(f"{folder} is there: the histories of a release are made once, and replayed for ever")
    histories = asyncio.run(record(version))
    folder.mkdir()
    for name, history in histories.items():
        (folder / f"{name}.json").write_text(history + "\n")
    sys.stdout.write(f"{len(histories)} histories are in {folder}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:2])
