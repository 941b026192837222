"""A running stack is broken in each way that nobody would notice by himself: the alerts say so, and end with it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import psycopg
import pytest
import pytest_asyncio

from domain.ids import new_id
from sandbox.environment import process_environment
from tests.chaos.conftest import Chaos
from tests.support.client import Customer, Json, order_of, until
from tests.support.command import ordersaga
from tests.support.prometheus_server import Prometheus, running_prometheus

pytestmark = [pytest.mark.more, pytest.mark.needs("prometheus")]

HASTE: Final = 20
"""By how much the alerts are quicker here."""
INTERVAL: Final = 2.5
"""Seconds, and more than a measurement takes whose other side is away."""


@pytest_asyncio.fixture(scope="module")
async def prometheus(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    probes = chaos.client.stack.endpoints.probes
    async with running_prometheus(folder, probes, haste=HASTE, interval=INTERVAL) as server:
        yield server


@pytest_asyncio.fixture(scope="module")
async def shop(chaos: Chaos) -> tuple[Customer, str]:
    return await chaos.client.sign_up(), await chaos.client.add_product(units=1_000)


Break = Callable[[Chaos, tuple[Customer, str]], AbstractAsyncContextManager[None]]


async def place(chaos: Chaos, shop: tuple[Customer, str], **changes: object) -> Json:
    customer, product = shop
    body = {**order_of(product, quantity=1), **changes}
    order: Json = (await chaos.client.place(customer, body, key=new_id(), wait=0)).raise_for_status().json()
    return order


@asynccontextmanager
async def worker_frozen(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    async with chaos.hanging("order-worker"):
        order = await place(chaos, shop)
        yield
    await chaos.client.until_payable(shop[0], order["id"])


@asynccontextmanager
async def worker_killed(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    async with chaos.down("order-worker"):
        order = await place(chaos, shop)
        yield
    await chaos.client.until_payable(shop[0], order["id"])


@asynccontextmanager
async def relay_frozen(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    async with chaos.hanging("relay"):
        await place(chaos, shop)
        yield


@asynccontextmanager
async def broker_down(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    async with chaos.down("kafka"):
        await place(chaos, shop)
        yield


@asynccontextmanager
async def database_closed(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    """PostgreSQL lets nobody into the payment service's database."""
    name = psycopg.conninfo.conninfo_to_dict(chaos.client.stack.endpoints.postgres["payment"])["dbname"]
    admin = await psycopg.AsyncConnection.connect(chaos.client.stack.administrator, autocommit=True)
    async with admin:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@asynccontextmanager
async def stripe_answers_nothing(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    """A payment's event comes, and the intent that it is about cannot be read."""
    order = await chaos.client.until_payable(shop[0], (await place(chaos, shop))["id"])
    await chaos.client.break_stripe({"api": {"error_500_before": 1.0, "operations": ["payment_intents.retrieve"]}})
    try:
        await chaos.client.pay(order)
        yield
    finally:
        await chaos.client.break_stripe({})
    await chaos.client.until_status(shop[0], order["id"], "PAID")


@asynccontextmanager
async def workflow_lost(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    """Somebody terminated the workflow of an order that waits to be paid."""
    order = await chaos.client.until_payable(shop[0], (await place(chaos, shop, payment_window_seconds=2))["id"])
    await chaos.client.workflow(order["id"]).terminate()
    yield
    environment = process_environment(chaos.client.stack.settings, "operator")
    repaired = await asyncio.to_thread(ordersaga, "repair", order["id"], environment=environment)
    assert repaired.returncode == 0, repaired.stderr
    await chaos.client.until_status(shop[0], order["id"], "FAILED")


@asynccontextmanager
async def coding_bug(chaos: Chaos, shop: tuple[Customer, str]) -> AsyncIterator[None]:
    """A workflow that the workers' code does not know: each of its tasks fails, as with a bug in one that it knows."""
    queue = chaos.client.stack.settings.temporal_task_queue
    handle = await chaos.client.temporal.start_workflow("Unknown", id=f"bug-{new_id()}", task_queue=queue)
    try:
        yield
    finally:
        await handle.terminate()


async def test_a_stack_that_does_its_work_is_quiet_and_every_process_is_asked(
    chaos: Chaos, prometheus: Prometheus, shop: tuple[Customer, str]
) -> None:
    async def paid() -> float:
        return await prometheus.value('sum(ordersaga_order_transitions_total{status="PAID"})') or 0

    paid_before = await paid()
    order = await chaos.client.until_payable(shop[0], (await place(chaos, shop))["id"])
    await chaos.client.pay(order)
    await chaos.client.until_status(shop[0], order["id"], "PAID")

    await until(paid, lambda count: count > paid_before)
    measured = "min(ordersaga_measurement_up)"  # the consumer's is there once it has joined its group
    await until(lambda: prometheus.value(measured), lambda up: up == 1)
    processes = len(chaos.client.stack.endpoints.probes)
    await until(lambda: prometheus.value("count(up == 1)"), lambda up: up == processes)
    assert await prometheus.value("min(ordersaga_part_ready)") == 1
    assert await prometheus.value("min(temporal_worker_task_slots_available)") is not None
    await until(prometheus.firing, lambda firing: not firing)


@pytest.mark.parametrize(
    ("breaking", "alerts"),
    [
        pytest.param(worker_frozen, {"OrdersDoNotStart", "PartDown", "TaskQueueBacklog"}, id="order worker frozen"),
        pytest.param(worker_killed, {"OrdersDoNotStart", "PartDown", "TaskQueueBacklog"}, id="order worker killed"),
        pytest.param(relay_frozen, {"EventsNotPublished", "PartDown"}, id="relay frozen"),
        pytest.param(broker_down, {"EventsNotPublished", "PartNotReady", "GaugesMissing"}, id="broker killed"),
        pytest.param(database_closed, {"PartNotReady", "GaugesMissing"}, id="a database away"),
        pytest.param(stripe_answers_nothing, {"ProviderEventsWait", "StripeFails"}, id="an event is stuck"),
        pytest.param(workflow_lost, {"OrdersOverdue"}, id="workflow terminated"),
        pytest.param(coding_bug, {"WorkflowTasksFail"}, id="workflow code fails"),
    ],
)
async def test_what_breaks_calls_somebody_until_it_is_mended(
    chaos: Chaos,
    prometheus: Prometheus,
    shop: tuple[Customer, str],
    capsys: pytest.CaptureFixture[str],
    breaking: Break,
    alerts: set[str],
) -> None:
    fired: dict[str, float] = {}

    async def firing() -> set[str]:
        for alert in await prometheus.firing():
            fired.setdefault(alert, time.monotonic() - began)
        return set(fired)

    await until(prometheus.firing, lambda names: not names)
    async with breaking(chaos, shop):
        began = time.monotonic()
        await until(firing, lambda names: names >= alerts)
    with capsys.disabled():
        sys.stdout.write("".join(f"\n  {alert} after {seconds:.0f} s" for alert, seconds in fired.items()) + "\n")

    await until(prometheus.firing, lambda names: not names)
