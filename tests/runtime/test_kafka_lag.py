"""How far a consumer is behind: by the ends of its partitions as the broker has them, and by the record it is at."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from runtime.kafka_lag import ConsumerLag
from runtime.metrics import CONSUMER_LAG_RECORDS, CONSUMER_LAG_SECONDS, CONSUMER_PARTITIONS
from runtime.refusal import Unavailable

FIRST, SECOND, ELSEWHERE = (TopicPartition("orders", number) for number in range(3))


class Consumer:
    """Two partitions, of which one has more; the broker may be away."""

    is_away = False

    def assignment(self) -> set[TopicPartition]:
        return {FIRST, SECOND}

    async def end_offsets(self, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
        if self.is_away:
            raise KafkaConnectionError
        return dict(zip(sorted(partitions), (10, 7), strict=True))

    async def position(self, partition: TopicPartition) -> int:
        return {FIRST: 6, SECOND: 7}[partition]


def record(*, seconds_ago: float) -> ConsumerRecord:
    values: dict[str, Any] = dict.fromkeys(ConsumerRecord.__dataclass_fields__)
    return ConsumerRecord(**{**values, "timestamp": int((time.time() - seconds_ago) * 1_000)})


async def shown(lag: ConsumerLag) -> dict[object, float]:
    return {reading.gauge: reading.value for reading in await lag.measurement.ask()}


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def lag(consumer: Consumer) -> ConsumerLag:
    lag = ConsumerLag("tests")
    lag.consumer = cast("AIOKafkaConsumer", consumer)
    return lag


async def test_records_are_those_up_to_the_end_that_the_broker_knows(lag: ConsumerLag) -> None:
    values = await shown(lag)

    assert values == {CONSUMER_PARTITIONS: 2, CONSUMER_LAG_RECORDS: 4, CONSUMER_LAG_SECONDS: 0}


async def test_seconds_are_the_age_of_the_oldest_record_that_is_not_done(lag: ConsumerLag) -> None:
    lag.begin(FIRST, record(seconds_ago=200))
    lag.begin(SECOND, record(seconds_ago=100))
    lag.begin(ELSEWHERE, record(seconds_ago=900))  # another process has this partition by now

    assert (await shown(lag))[CONSUMER_LAG_SECONDS] == pytest.approx(200, abs=30)

    lag.end(FIRST)
    assert (await shown(lag))[CONSUMER_LAG_SECONDS] == pytest.approx(100, abs=30)


async def test_a_broker_that_is_away_is_not_taken_for_one_without_records(lag: ConsumerLag, consumer: Consumer) -> None:
    consumer.is_away = True
    with pytest.raises(Unavailable):
        await lag.measurement.ask()

    lag.consumer = None
    with pytest.raises(Unavailable):
        await lag.measurement.ask()
