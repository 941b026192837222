"""Whether Kafka takes records: it refuses all for a topic that has too few replicas in sync (NOT_ENOUGH_REPLICAS).

A producer that waits for all replicas, as ours do, then tries again without an end and without a word.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeConfigsRequest

_TOPIC: Final = 2
"""A topic, as a kind of resource that has a configuration."""
_MIN_IN_SYNC: Final = "min.insync.replicas"


async def find_lack_of_replicas(
    client: AIOKafkaClient, cluster: ClusterMetadata, topics: Collection[str]
) -> str | None:
    """Which of the topics take no records, in words; None if all do, or if we may not know how many replicas they want.

    Args:
        client: connected.
        cluster: metadata of all topics, just fetched.
        topics: those that matter.
    """
    in_sync = {topic: _fewest_in_sync(cluster, topic) for topic in topics}
    short = {topic: count for topic, count in in_sync.items() if count is not None}
    if not short:
        return None
    wanted = await _min_in_sync(client, short)
    lacking = sorted(topic for topic, least in wanted.items() if short[topic] < least)
    if not lacking:
        return None
    named = ", ".join(f"{topic} ({short[topic]} of {wanted[topic]})" for topic in lacking)
    return (
        f"too few replicas are in sync of topic {named}: nothing is acknowledged until brokers are back; "
        f"see {_MIN_IN_SYNC}"
    )


def _fewest_in_sync(cluster: ClusterMetadata, topic: str) -> int | None:
    """The replicas in sync of the partition that has fewest; None where no partition lacks one."""
    partitions = cluster._partitions.get(topic, {}).values()  # private, but nothing public tells them
    return min((len(each.isr) for each in partitions if len(each.isr) < len(each.replicas)), default=None)


async def _min_in_sync(client: AIOKafkaClient, topics: Collection[str]) -> dict[str, int]:
    """How many replicas have to be in sync; without the topics of which the broker does not tell us."""
    request = DescribeConfigsRequest(
        resources=[(_TOPIC, topic, [_MIN_IN_SYNC]) for topic in topics], include_synonyms=False
    )
    for node in client.cluster.brokers():
        try:
            answer = await client.send(node.nodeId, request)
        except KafkaError:  # it is the one that is down
            continue
        return {
            topic: int(entries[0][1])
            for error, _, _, topic, entries in (resource[:5] for resource in answer.resources)
            if error == 0 and entries
        }
    return {}
