"""When topics take no records for want of replicas; how Apache Kafka itself answers is in `tests/real`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.structs import BrokerMetadata

from runtime.kafka_replicas import find_lack_of_replicas

REFUSED = 29
"""TOPIC_AUTHORIZATION_FAILED."""


def cluster(in_sync: Mapping[str, Sequence[int]]) -> ClusterMetadata:
    """Three brokers, and topics with one partition of which these replicas are in sync."""
    metadata = ClusterMetadata()
    brokers = [(node, "127.0.0.1", 9092, None) for node in (1, 2, 3)]
    topics = [(0, topic, False, [(0, 0, 1, [1, 2, 3], list(isr))]) for topic, isr in in_sync.items()]
    metadata.update_metadata(MetadataResponse_v1(brokers, 1, topics))
    return metadata


class Client:
    """The first of its brokers is down; the other says how many replicas topics want in sync, or that it will not."""

    def __init__(self, wanted: Mapping[str, int | None]) -> None:
        self.cluster = SimpleNamespace(
            brokers=lambda: [BrokerMetadata(node, "127.0.0.1", 9092, None) for node in (1, 2)]
        )
        self._wanted = wanted

    async def send(self, node_id: int, request: object) -> object:
        """Called by what is tested."""
        if node_id == 1:
            raise KafkaConnectionError
        return SimpleNamespace(resources=[_resource(topic, least) for topic, least in self._wanted.items()])


def _resource(topic: str, least: int | None) -> tuple[object, ...]:
    if least is None:
        return (REFUSED, "", 2, topic, [])
    return (0, "", 2, topic, [("min.insync.replicas", str(least))])


@pytest.mark.parametrize(
    ("in_sync", "wanted", "problem"),
    [
        ({"a": [1, 2, 3]}, {"a": 3}, None),
        ({"a": [1, 2]}, {"a": 2}, None),
        ({"a": [1]}, {"a": None}, None),
        ({"a": [1], "b": [2, 3], "c": [1, 3]}, {"a": 2, "b": 3, "c": 2}, "topic a (1 of 2), b (2 of 3): nothing is"),
    ],
    ids=["all in sync", "enough", "not ours to know", "too few"],
)
async def test_topics_without_enough_replicas_in_sync_are_named(
    in_sync: Mapping[str, Sequence[int]], wanted: Mapping[str, int | None], problem: str | None
) -> None:
    found = await find_lack_of_replicas(Client(wanted), cluster(in_sync), list(in_sync))

    assert found is None if problem is None else problem in (found or "")
