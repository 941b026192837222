"""The brokers that tests of relay and consumers run on: the embedded one, and Apache Kafka (`make test-real`)."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from domain.events import ORDER_EVENTS, PARTITIONS
from runtime.kafka_connection import kafka_options
from runtime.settings import Settings
from sandbox.environment import KAFKA_FETCH_WAIT_MS
from sandbox.kafka import Kafka
from sandbox.ports import address, free_port
from tests.support.real.kafka import KafkaCluster

BROKERS: Final = ["embedded", pytest.param("apache", marks=[pytest.mark.real, pytest.mark.needs("java")])]
"""The kinds that a fixture has as its parameters."""


def cluster_of(request: pytest.FixtureRequest) -> KafkaCluster | None:
    """What a fixture with `BROKERS` as its parameters returns: the run's cluster, for Apache Kafka."""
    if request.param == "embedded":
        return None
    cluster: KafkaCluster = request.getfixturevalue("apache_kafka")
    return cluster


class Broker(ABC):
    """A broker that can be taken away and brought back.

    Attributes:
        keeps: whether it still has then what it had.
        settings: those that reach it.
    """

    keeps: bool
    settings: Mapping[str, Any]
    _begin: Mapping[TopicPartition, int] = {}
    """What was there before, if anything, ends here."""

    @abstractmethod
    async def start(self) -> None:
        """Start it, or bring it back."""

    @abstractmethod
    async def stop(self) -> None:
        """Take it away."""

    def _reader(self) -> AIOKafkaConsumer:
        options = kafka_options(Settings(**self.settings))
        consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest", fetch_max_wait_ms=50)
        consumer.assign([TopicPartition(ORDER_EVENTS, number) for number in range(PARTITIONS)])
        return consumer

    async def records(self, *, at_least: int) -> Sequence[ConsumerRecord]:
        """Everything that the topic of orders has got in this test, partition by partition."""
        async with self._reader() as consumer:
            for partition, offset in self._begin.items():
                consumer.seek(partition, offset)
            found: list[ConsumerRecord] = []
            async with asyncio.timeout(20):
                while len(found) < at_least:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += records
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
            return found


class EmbeddedBroker(Broker):
    """The broker of the embedded stack, in memory."""

    keeps = False

    def __init__(self, log: Path) -> None:
        port = free_port()
        self._kafka = Kafka(port=port, log=log)
        self.settings = {
            "kafka_bootstrap": address(port),
            "kafka_idempotence": False,
            "kafka_fetch_wait_ms": KAFKA_FETCH_WAIT_MS,
        }

    async def start(self) -> None:
        """See `Broker`."""
        await self._kafka.start()

    async def stop(self) -> None:
        """See `Broker`."""
        await self._kafka.stop()


class ApacheBroker(Broker):
    """A cluster that others use before and after."""

    keeps = True

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self.settings = {name: getattr(cluster.settings(), name) for name in cluster.settings().model_fields_set}

    async def start(self) -> None:
        """See `Broker`."""
        await self._cluster.start(*self._cluster.down)
        await self._cluster.until_in_sync()
        if not self._begin:
            async with self._reader() as consumer:
                self._begin = await consumer.end_offsets(consumer.assignment())

    async def stop(self) -> None:
        """See `Broker`. Acknowledged records survive this, as they are in the page cache of three brokers."""
        await self._cluster.kill(*self._cluster.nodes)


def broker_on(cluster: KafkaCluster | None, log: Path) -> Broker:
    """A broker of the kind that `cluster_of` says; not started yet."""
    return EmbeddedBroker(log) if cluster is None else ApacheBroker(cluster)
