"""Orders on a Temporal server as production has it, which is killed under load, and so is the order worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from runtime.temporal_namespace import find_problem
from tests.chaos.conftest import Chaos
from tests.support.real.stack import Shopper, stack_on
from tests.support.real.temporal import NAMESPACE, TemporalServer

pytestmark = [pytest.mark.real, pytest.mark.needs("go"), pytest.mark.needs("postgresql"), pytest.mark.timeout(900)]

ORDERS = 300


async def test_the_front_end_takes_nobody_without_a_certificate_of_our_authority(temporal: TemporalServer) -> None:
    with pytest.raises(RuntimeError):
        await Client.connect(temporal.address, namespace=NAMESPACE)
    with pytest.raises(RuntimeError):
        await Client.connect(temporal.address, namespace=NAMESPACE, tls=temporal.without_certificate)


async def test_orders_agree_although_worker_and_server_were_killed_under_load(
    temporal: TemporalServer, tmp_path: Path
) -> None:
    async with stack_on(tmp_path / "var", temporal, split=True, restart=True) as client:
        chaos, shopper = Chaos(client=client), await Shopper.enter(client, units=ORDERS)
        assert await find_problem(client.temporal) is None

        buying = asyncio.create_task(shopper.buy(ORDERS // 3))
        await shopper.until_sold(ORDERS // 12, of=ORDERS)
        killed = await chaos.kill("order-worker")
        await chaos.until_back("order-worker", killed=killed)
        orders = list(await buying)

        buying = asyncio.create_task(shopper.buy(ORDERS - len(orders)))
        await shopper.until_sold(ORDERS // 2, of=ORDERS)
        await temporal.kill()
        await temporal.start()
        orders += await buying

        stock = await client.stock(shopper.product_id)
        await chaos.orders_agree()
        paid = await client.temporal.count_workflows("OrderStatus = 'PAID'")

    assert len({order["id"] for order in orders}) == ORDERS
    assert stock == (0, 0)
    assert paid.count == ORDERS
