"""Whether a consumer group moves: how many records wait for it, and since when it has done none of them.

A group moves by the offsets that it commits, whichever of its members does; so each can tell how all of it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a consumer group is.

    Attributes:
        group: which one.
        waiting: records that it has not done yet; None while Kafka does not say.
        stands_since: when it was first seen where it is, with something to do, or with nobody to ask; None if nothing
            waits. A group that moves has moved since the last look, so look more often than you would call somebody.
        problem: what keeps it from Kafka now, in words; empty if nothing does.
        error: the last that a record or the connection had in this process, if any: without any data of the record.
        error_at: when that was.
    """

    group: str
    waiting: int | None
    stands_since: datetime | None
    problem: str
    error: str
    error_at: datetime | None


class Progress:
    """What one member of a group has seen of it."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._committed: Mapping[TopicPartition, int] | None = None
        self._since: datetime | None = datetime.now(UTC)
        self._problem = "it has not joined its group yet"
        self._error = ""
        self._error_at: datetime | None = None

    def connected(self) -> None:
        """Note that Kafka is there."""
        self._problem = ""

    def lost(self, problem: str) -> None:
        """Note why Kafka is not."""
        self._problem = problem
        self._since = self._since or datetime.now(UTC)
        self.failed(problem)

    def failed(self, error: str) -> None:
        """Note why a record could not be done."""
        self._error, self._error_at = error, datetime.now(UTC)

    def saw(self, committed: Mapping[TopicPartition, int], *, waiting: int) -> None:
        """Note how far the group is."""
        self._problem = ""
        if not waiting or committed != self._committed:
            self._since = None
        if waiting:
            self._since = self._since or datetime.now(UTC)
        self._committed = committed

    def standing(self, *, waiting: int | None) -> Standing:
        """How the group is."""
        return Standing(
            group=self._group,
            waiting=waiting,
            stands_since=self._since,
            problem=self._problem,
            error=self._error,
            error_at=self._error_at,
        )


async def read_offsets(consumer: AIOKafkaConsumer, topics: Collection[str]) -> tuple[Mapping[TopicPartition, int], int]:
    """Where the group of this consumer is in each partition of the topics, and how many records wait for it there.

    Raises:
        KafkaError: the broker does not say, or lacks one of the topics.
    """
    if missing := [topic for topic in topics if not consumer.partitions_for_topic(topic)]:
        raise UnknownTopicOrPartitionError(missing)
    partitions = [TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic)]
    ends = await consumer.end_offsets(partitions)
    begins = await consumer.beginning_offsets(partitions)
    committed = await asyncio.gather(*(consumer.committed(partition) for partition in partitions))
    # where nothing is committed, or what was is no longer kept, a consumer begins with the first that there is
    at = {each: max(begins[each], offset or 0) for each, offset in zip(partitions, committed, strict=True)}
    return at, sum(max(0, ends[each] - offset) for each, offset in at.items())
