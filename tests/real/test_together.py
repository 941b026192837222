"""Orders on all real parts together: what of the embedded stack stays are our own processes and Stripe's double."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.events import TOPICS
from runtime.kafka_connection import find_problem as find_kafka_problem
from runtime.temporal import find_problem as find_temporal_problem
from tests.chaos.conftest import Chaos
from tests.support.client import until
from tests.support.real.exim import EximRelay
from tests.support.real.kafka import KafkaCluster
from tests.support.real.postgres import DebianPostgres
from tests.support.real.stack import Shopper, stack_on
from tests.support.real.temporal import TemporalServer

pytestmark = [pytest.mark.real, *(pytest.mark.needs(program) for program in ("java", "go", "postgresql", "exim"))]

ORDERS = 100


@pytest.mark.timeout(900)
async def test_orders_agree_on_all_real_parts_together(
    apache_kafka: KafkaCluster,
    temporal: TemporalServer,
    debian_postgres: DebianPostgres,
    relay: EximRelay,
    tmp_path: Path,
) -> None:
    await debian_postgres.renew()
    parts = (apache_kafka, temporal, debian_postgres, relay)
    async with stack_on(tmp_path / "var", *parts, split=True) as client:
        shopper = await Shopper.enter(client, units=ORDERS)
        orders = await shopper.buy(ORDERS)
        mails = await until(
            lambda: relay.received(to=shopper.customer.email), lambda mails: len(mails) >= 2 * len(orders)
        )
        await Chaos(client=client).orders_agree()
        processes = client.stack.endpoints.processes.keys()
        assert await find_kafka_problem(client.stack.settings, topics=TOPICS) is None
        assert await find_temporal_problem(client.temporal) is None

    assert processes.isdisjoint(part.external for part in parts)
    expected = [f"<order-{order['id']}-{seq}@ordersaga>" for order in orders for seq in (2, 3)]
    assert sorted(str(mail["Message-ID"]) for mail in mails) == sorted(expected)
