"""How far a consumer is behind, in records and in seconds.

The broker is asked for the ends of the partitions: what a consumer knows of them by itself stands still when it hears
nothing any more, and looks as if there were nothing to do.
"""

from __future__ import annotations

import time

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from runtime.measuring import Measurement, Reading
from runtime.metrics import CONSUMER_LAG_RECORDS, CONSUMER_LAG_SECONDS, CONSUMER_PARTITIONS
from runtime.refusal import Unavailable


class ConsumerLag:
    """Of one consumer in its group.

    Attributes:
        consumer: the one that is connected now; None when there is none.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._at: dict[TopicPartition, int] = {}
        self.consumer: AIOKafkaConsumer | None = None

    @property
    def measurement(self) -> Measurement:
        """Asks for it."""
        return Measurement(f"consumer/{self._group}", self._ask)

    def begin(self, partition: TopicPartition, record: ConsumerRecord) -> None:
        """Note that the partition's records before this one are done."""
        self._at[partition] = record.timestamp

    def end(self, partition: TopicPartition) -> None:
        """Note that there is none left of those that were fetched."""
        self._at.pop(partition, None)

    async def _ask(self) -> list[Reading]:
        if self.consumer is None:
            raise Unavailable("not connected to Kafka")
        partitions = self.consumer.assignment()
        try:
            ends = await self.consumer.end_offsets(partitions) if partitions else {}
            behind = [max(end - await self.consumer.position(partition), 0) for partition, end in ends.items()]
        except (KafkaError, IllegalStateError) as error:  # the latter where the group has just changed hands
            raise Unavailable(f"Kafka: {error!r}") from None
        now = time.time()
        oldest = min((at / 1_000 for partition, at in self._at.items() if partition in partitions), default=now)
        return [
            Reading(CONSUMER_PARTITIONS, len(partitions), (self._group,)),
            Reading(CONSUMER_LAG_RECORDS, sum(behind), (self._group,)),
            Reading(CONSUMER_LAG_SECONDS, max(now - oldest, 0), (self._group,)),
        ]
