"""The whole product on real parts: set up, looked at, used, audited. Nothing embedded is left but Stripe's double."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from domain.events import ALL_TOPICS
from runtime.part_settings import SETTINGS
from sandbox.environment import process_environment
from tests.chaos.conftest import Chaos
from tests.support.client import until
from tests.support.command import ordersaga
from tests.support.real.exim import EximRelay
from tests.support.real.kafka import KafkaCluster
from tests.support.real.postgres import DebianPostgres
from tests.support.real.stack import Shopper, stack_on
from tests.support.real.temporal import TemporalServer

pytestmark = [pytest.mark.real, *(pytest.mark.needs(program) for program in ("java", "go", "postgresql", "exim"))]

ORDERS = 100
NAMESPACE = {"ORDERSAGA_TEMPORAL_NAMESPACE": "together"}


def lines_of(*arguments: str, environment: Mapping[str, str]) -> list[str]:
    """What the command prints, line by line; it has to succeed."""
    done = ordersaga(*arguments, environment=environment)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout.splitlines()


@pytest.mark.timeout(900)
async def test_what_was_set_up_and_looked_at_sells_and_agrees(
    apache_kafka: KafkaCluster,
    temporal: TemporalServer,
    debian_postgres: DebianPostgres,
    relay: EximRelay,
    tmp_path: Path,
) -> None:
    await debian_postgres.renew()
    for topic in ALL_TOPICS:
        await apache_kafka.delete_topic(topic)
    parts = (apache_kafka, temporal, debian_postgres, relay)
    given = {name: value for part in parts for name, value in part.environment.items()} | NAMESPACE

    made = lines_of("setup", "temporal", "kafka", environment={**os.environ, **given})
    async with stack_on(tmp_path / "var", *parts, settings=NAMESPACE, split=True) as client:
        environment = process_environment(client.stack.settings, *SETTINGS)
        again = lines_of("setup", environment=environment)
        before = lines_of("doctor", environment=environment)
        shopper = await Shopper.enter(client, units=ORDERS)
        orders = await shopper.buy(ORDERS)
        mails = await until(
            lambda: relay.received_about_orders(to=shopper.customer.email), lambda mails: len(mails) >= 2 * len(orders)
        )
        await Chaos(client=client).orders_agree()
        lines_of("audit", environment=environment)
        after = lines_of("doctor", environment=environment)
        processes = client.stack.endpoints.processes.keys()

    assert processes.isdisjoint(part.external for part in parts)
    assert made == [
        "temporal: namespace together made",
        "temporal: search attributes added: OrderStatus, CustomerId, OrderAttention, OrderTotal",
        *(f"kafka: topic {topic} made" for topic in ALL_TOPICS),
    ]
    assert [line for line in again if line.startswith(("temporal", "kafka"))] == [
        "temporal: nothing to do",
        "kafka: nothing to do",
    ]
    assert [line.split()[0] for line in (*before, *after)].count("wrong") == 0
    expected = [f"<order-{order['id']}-{seq}@ordersaga>" for order in orders for seq in (2, 3)]
    assert sorted(str(mail["Message-ID"]) for mail in mails) == sorted(expected)
