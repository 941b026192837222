"""Reading topics without a consumer group, which would take events from nobody but change what the brokers keep."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from runtime.kafka_connection import diagnose, explain, kafka_options
from runtime.kafka_topics import KafkaUnusable, partitions_of
from runtime.settings import Settings

_POLL_MS: Final = 500
_BUFFERED: Final = 500
"""Records of a partition that wait for older ones of others."""
_LOOK_SECONDS: Final = 10.0
"""From one look whether silence means that the broker is away to the next."""

OnProblem = Callable[[str], None]
"""Told why nothing comes, and, with an empty text, that the broker is back."""


class TopicReader:
    """Reads some topics from a moment on: first what is there by then, in the order of time, then what comes."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> None:
        self._settings = settings
        self._consumer = consumer
        self._ends = ends
        """Where each partition ended at the start. The embedded broker may name a smaller one."""

    async def stored(self) -> AsyncIterator[ConsumerRecord]:
        """What was there at the start, from all partitions, the oldest first.

        Raises:
            KafkaUnusable: the broker went away meanwhile.
        """
        waiting: dict[TopicPartition, deque[ConsumerRecord]] = {partition: deque() for partition in self._ends}
        while True:
            empty = [each for each, records in waiting.items() if not records and await self._is_behind(each)]
            if empty:
                await self._fetch_into(waiting, empty)
                continue
            if not (filled := [records for records in waiting.values() if records]):
                return
            oldest = min(filled, key=lambda records: (records[0].timestamp, records[0].topic, records[0].offset))
            yield oldest.popleft()

    async def following(self, on_problem: OnProblem) -> AsyncIterator[ConsumerRecord]:
        """What comes from then on, without an end. A broker that goes away is waited for."""
        loop, problem = asyncio.get_running_loop(), ""
        look_at = loop.time() + _LOOK_SECONDS
        while True:
            records = await self.rest()
            if not records and loop.time() < look_at:
                continue
            look_at = loop.time() + _LOOK_SECONDS
            before, problem = problem, "" if records else await diagnose(self._settings)
            if problem != before:
                on_problem(problem)
            for record in records:
                yield record

    async def rest(self) -> Sequence[ConsumerRecord]:
        """What has come since, the oldest first; waits for a moment if that is nothing."""
        fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
        records = [record for of_partition in fetched.values() for record in of_partition]
        return sorted(records, key=lambda record: record.timestamp)

    async def _is_behind(self, partition: TopicPartition) -> bool:
        return bool(await self._consumer.position(partition) < self._ends[partition])

    async def _fetch_into(
        self, waiting: Mapping[TopicPartition, deque[ConsumerRecord]], partitions: Collection[TopicPartition]
    ) -> None:
        fetched = await self._consumer.getmany(*partitions, timeout_ms=_POLL_MS, max_records=_BUFFERED)
        for partition, records in fetched.items():
            waiting[partition].extend(records)
        if not fetched and (problem := await diagnose(self._settings)):
            raise KafkaUnusable(f"Kafka: {problem}")


@asynccontextmanager
async def open_topics(
    settings: Settings, topics: Collection[str], *, since: datetime | None
) -> AsyncIterator[TopicReader]:
    """A reader of these topics: from a moment on, or, without one, from their end.

    Raises:
        KafkaUnusable: no broker can be used, or they lack one of the topics; says why.
        SettingsError: the settings for Kafka do not fit.
    """
    options = kafka_options(settings)
    if problem := await diagnose(settings):  # first, because a client repeats what it cannot do, and then only says so
        raise KafkaUnusable(f"Kafka: {problem}")
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    try:
        await consumer.start()
        partitions = await partitions_of(consumer, topics)
        ends = await consumer.end_offsets(partitions)
        begins = ends if since is None else await _find_offsets(consumer, ends, since)
        consumer.assign(partitions)
        for partition, offset in begins.items():
            consumer.seek(partition, offset)
        yield TopicReader(settings, consumer, ends)
    except KafkaError as error:
        raise KafkaUnusable(f"Kafka: {await diagnose(settings) or explain(error)}") from None
    finally:
        await consumer.stop()


async def _find_offsets(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], since: datetime
) -> Mapping[TopicPartition, int]:
    """Where each partition's first record from that moment on is; its end where there is none."""
    milliseconds = int(since.timestamp() * 1_000)
    if milliseconds <= 0:
        begins: Mapping[TopicPartition, int] = await consumer.beginning_offsets(list(ends))
        return begins
    found = await consumer.offsets_for_times(dict.fromkeys(ends, milliseconds))
    # where there is none, Apache Kafka gives no answer, and the embedded broker one without a time
    return {each: ends[each] if at is None or at.timestamp < 0 else at.offset for each, at in found.items()}
