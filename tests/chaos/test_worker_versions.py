"""Releases of the workflow code, one after the other under orders: one that differs, one with a bug, and its fix.

The commands are those of docs/operations.md and docs/runbook.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import WorkflowHandle

from domain.ids import new_id
from tests.support.client import Customer, Json, order_of, running_stack, until
from tests.support.releases import (
    COMMIT_LATE,
    COMMIT_RAISES,
    STEPS_SWAPPED,
    Shop,
    release,
    versioned_shop,
)

pytestmark = [pytest.mark.more, pytest.mark.long]

FIFTY = 50
VISA = "pm_card_visa"


@pytest_asyncio.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A stack whose order worker is version 1."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ORDERSAGA_BUILD_ID", "1")
        environment.setenv("ORDERSAGA_MAX_OPEN_ORDERS", "1000")  # of the one customer here
        async with (
            running_stack(tmp_path_factory.mktemp("var"), split=True, restart=True) as client,
            versioned_shop(client, tmp_path_factory.mktemp("workers")) as opened,
        ):
            yield opened


async def waiting_orders(shop: Shop, customer: Customer, number: int) -> Sequence[Json]:
    """So many orders that wait for their payment."""
    product = await shop.client.add_product(units=number)
    body = order_of(product, quantity=1)
    placed = await asyncio.gather(*(shop.client.place(customer, body, key=new_id(), wait=0) for _ in range(number)))
    ids = [answer.raise_for_status().json()["id"] for answer in placed]
    return await asyncio.gather(*(shop.client.until_payable(customer, order_id) for order_id in ids))


async def all_paid(shop: Shop, customer: Customer, orders: Sequence[Json]) -> None:
    """Pay them, and wait until they are PAID."""
    for order in orders:
        await shop.client.pay(order)
    await asyncio.gather(*(shop.client.until_status(customer, order["id"], "PAID") for order in orders))


async def versions_of(shop: Shop, orders: Sequence[Json]) -> set[str]:
    """The versions that their workflows run on."""
    found = [await shop.client.workflow(order["id"]).describe() for order in orders]
    info = [workflow.raw_description.workflow_execution_info.versioning_info for workflow in found]
    return {each.versioning_override.pinned.version.build_id or each.deployment_version.build_id for each in info}


async def steps_of(workflow: WorkflowHandle[object, object]) -> list[str]:
    """The steps that its history has, in their order."""
    history = await workflow.fetch_history()
    markers = [
        event.marker_recorded_event_attributes
        for event in history.events
        if event.HasField("marker_recorded_event_attributes")
    ]
    return [json.loads(marker.details["data"].payloads[0].data)["activity_type"] for marker in markers]


async def test_fifty_orders_end_on_their_version_while_another_one_takes_new_orders(
    shop: Shop, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    customer = await shop.client.sign_up()
    assert (await shop.run("deployment", "current", "1")).returncode == 0
    old = await waiting_orders(shop, customer, FIFTY)
    changed = release(tmp_path / "2", STEPS_SWAPPED)

    gate = await shop.run("replay", "--query", 'ExecutionStatus="Running"', root=changed)
    assert gate.returncode == 1
    assert "the workflow runs the step `reserve`; here the code runs the step `open_payment`" in gate.stdout
    assert gate.stdout.splitlines()[-1] == f"{FIFTY} histories, 0 replay, {FIFTY} does not replay"

    await shop.deploy("2", changed)
    shares = {build_id: version["percentage"] for build_id, version in (await shop.versions()).items()}
    assert (shares["1"], shares["2"]) == (100, 0)
    switched = await shop.run("deployment", "current", "2")
    assert switched.returncode == 0, switched.stderr
    new = await waiting_orders(shop, customer, 10)
    assert (await versions_of(shop, old), await versions_of(shop, new)) == ({"1"}, {"2"})
    assert (await steps_of(shop.client.workflow(new[0]["id"])))[1:3] == ["open_payment", "reserve"]
    await until(shop.versions, lambda found: found["1"]["open"] == {"OrderSaga": FIFTY})
    leaving = await shop.run("deployment", "drain", "1")
    assert leaving.returncode == 1
    assert f"{FIFTY} OrderSaga" in leaving.stdout

    await all_paid(shop, customer, [*old, *new])

    assert await versions_of(shop, old) == {"1"}
    drained = await until(shop.versions, lambda found: found["1"]["status"] == "drained")
    assert drained["1"]["open"] == {}
    record_property("figure", f"worker versions: {FIFTY} orders PAID on version 1, {len(new)} on version 2, 1 drained")


async def test_orders_that_a_bug_blocks_go_on_with_the_fix(shop: Shop, tmp_path: Path) -> None:
    customer = await shop.client.sign_up()
    broken = release(tmp_path / "3", COMMIT_RAISES)
    await shop.deploy("3", broken)
    assert (await shop.run("deployment", "current", "3")).returncode == 0
    blocked = await waiting_orders(shop, customer, 3)
    for order in blocked:
        await shop.client.pay(order)
    failing = "cause=WorkflowTaskFailedCauseWorkflowWorkerUnhandledFailure"
    query = f"ExecutionStatus = 'Running' AND TemporalReportedProblems IN ('{failing}')"

    async def stuck() -> int:
        return (await shop.client.temporal.count_workflows(query)).count

    await until(stuck, lambda number: number == len(blocked))
    told = await shop.run("replay", "--query", query, root=broken)
    assert told.returncode == 1
    assert "at the server it failed: KeyError: 'no such thing'" in told.stdout

    await shop.deploy("4")
    assert (await shop.run("deployment", "current", "4")).returncode == 0
    assert (await shop.run("deployment", "drain", "3", "--to", "4")).returncode == 1

    await asyncio.gather(*(shop.client.until_status(customer, order["id"], "PAID") for order in blocked))
    assert await versions_of(shop, blocked) == {"4"}


async def test_an_order_that_took_a_wrong_turn_is_reset_to_before_it(shop: Shop, tmp_path: Path) -> None:
    customer = await shop.client.sign_up()
    await shop.deploy("5", release(tmp_path / "5", COMMIT_LATE))
    assert (await shop.run("deployment", "current", "5")).returncode == 0
    [order] = await waiting_orders(shop, customer, 1)
    await shop.client.pay(order)
    workflow = shop.client.workflow(order["id"])

    async def steps() -> list[str]:
        return await steps_of(workflow)

    await until(steps, lambda found: found[-1] == "check_payment")
    await shop.deploy("6")
    gate = await shop.run("replay", "--json", "--query", f'WorkflowId="order-{order["id"]}"')
    [outcome] = json.loads(gate.stdout)
    assert (gate.returncode, outcome["verdict"]) == (1, "does not replay")
    history = await workflow.fetch_history()
    event_id = max(
        event.event_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes") and event.event_id < outcome["event_id"]
    )

    assert (await shop.run("deployment", "current", "6")).returncode == 0
    reset = await shop.temporal(
        *("workflow", "reset", "with-workflow-update-options", "--workflow-id", f"order-{order['id']}"),
        *("--event-id", str(event_id), "--reason", "commits a day late", "--versioning-override-behavior", "pinned"),
        *("--versioning-override-deployment-name", "ordersaga", "--versioning-override-build-id", "6"),
    )
    assert reset.returncode == 0, reset.stderr

    await shop.client.until_status(customer, order["id"], "PAID")
    assert (
        await shop.run("replay", "--query", f'WorkflowId="order-{order["id"]}" AND ExecutionStatus="Completed"')
    ).returncode == 0
