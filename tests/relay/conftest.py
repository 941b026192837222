"""An outbox and a broker for each test, and a lease that is soon over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.brokers import BROKERS, Broker, broker_on, cluster_of
from tests.support.real.kafka import KafkaCluster
from tests.support.relay_harness import Outbox, outbox_in
from workers.relay import database, state


@pytest_asyncio.fixture
async def outbox(databases: Mapping[str, str]) -> AsyncIterator[Outbox]:
    async with outbox_in(databases["inventory"]) as outbox:
        yield outbox


@pytest.fixture(params=BROKERS)
def cluster(request: pytest.FixtureRequest) -> KafkaCluster | None:
    return cluster_of(request)


@pytest_asyncio.fixture
async def broker(cluster: KafkaCluster | None, tmp_path: Path) -> AsyncIterator[Broker]:
    broker = broker_on(cluster, tmp_path / "kafka.log")
    await broker.start()
    yield broker
    if cluster is None:
        await broker.stop()


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> float:
    """Leases are so many seconds long."""
    seconds = 0.3
    monkeypatch.setattr(state, "LEASE_SECONDS", seconds)
    monkeypatch.setattr(state, "RENEW_SECONDS", seconds / 4)
    monkeypatch.setattr(database, "LEASE_SECONDS", seconds)
    return seconds
