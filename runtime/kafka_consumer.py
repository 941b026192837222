"""Consuming from Kafka at least once: the effect first, then the offset."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from opentelemetry.trace import Span

from runtime.backoff import Backoff, Retries
from runtime.dead_letters import DeadLetter, locate
from runtime.kafka import METADATA_MAX_AGE_MS, Publisher
from runtime.kafka_connection import CLIENT_ID, diagnose, kafka_options
from runtime.kafka_lag import ConsumerLag
from runtime.kafka_standing import Progress, Standing, read_offsets
from runtime.kafka_topics import find_missing
from runtime.measuring import Measurement
from runtime.messaging_spans import processing
from runtime.metrics import DEAD_LETTERS
from runtime.settings import Settings, SettingsError
from runtime.tracing import fail

log = structlog.stdlib.get_logger(__name__)

ATTEMPTS: Final = 5
"""Attempts at a record whose handler fails for a cause that is not known to pass."""
_BACKOFF: Final = Backoff(first=0.2, longest=5.0)
_LEAVE_SECONDS: Final = 5.0
"""Limit for handing over what the group has assigned to a consumer that stops."""
_ABANDON_JOIN_SECONDS: Final = 0.2
"""Limit for a consumer that stops before it has joined."""
_STANDING_SECONDS: Final = 1.5
"""What Kafka gets to say how many records wait, and then to say why it does not."""
_POLL_MS: Final = 1_000
_MAX_RECORDS: Final = 200

Handler = Callable[[ConsumerRecord], Awaitable[None]]


class Unprocessable(Exception):
    """A record that no retry can help: it goes to the dead letters, with this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who consumes what, and how.

    Attributes:
        handle: makes a record's effect durable, exactly once however often the record comes. Raises `Unprocessable`
            for one that can never be handled.
        refused: keeps a record that is about to go to the dead letters; may get the same one again.
        transient: errors of `handle` that pass by themselves, such as an unreachable database: retried without limit.
            Any other one is a defect: retried `ATTEMPTS` times, then the record goes to the dead letters.
    """

    group: str
    topics: Sequence[str]
    handle: Handler
    refused: Callable[[DeadLetter], Awaitable[None]]
    transient: tuple[type[Exception], ...]


class Consumer:
    """Handles every record of some topics, in order per partition, whatever dies in between.

    Unprocessable records go to ``<topic>.dlq``, which must exist, with the reason in their headers. Joining the group
    takes up to half the session timeout, so nothing should wait for it.

    Raises:
        SettingsError: the settings for Kafka do not fit.
    """

    def __init__(self, settings: Settings, subscription: Subscription) -> None:
        kafka_options(settings)  # what is wrong with them is to end the start; certificates are read at each connection
        self._settings = settings
        self._subscription = subscription
        self._dead_letters = Publisher(settings)
        self._attempts: dict[tuple[TopicPartition, int], int] = {}
        self._retries = Retries(_BACKOFF)
        self._progress = Progress(subscription.group)
        self._lag = ConsumerLag(subscription.group)
        for topic in subscription.topics:
            DEAD_LETTERS.labels(topic)  # from 0 on, for the first one to be an increase

    @property
    def measurement(self) -> Measurement:
        """Asks how far it is behind."""
        return self._lag.measurement

    async def standing(self) -> Standing:
        """Whether the group moves; cheap, but it asks the broker."""
        waiting = None
        if (member := self._lag.consumer) is not None:
            try:
                async with asyncio.timeout(_STANDING_SECONDS):
                    committed, waiting = await read_offsets(member, self._subscription.topics)
                self._progress.saw(committed, waiting=waiting)
            except (KafkaError, TimeoutError):
                self._progress.lost(await self._find_problem())
        return self._progress.standing(waiting=waiting)

    async def _find_problem(self) -> str:
        problem = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_STANDING_SECONDS):
                problem = await find_missing(self._settings, topics=self._subscription.topics)
        return problem or "Kafka does not say how many records wait"

    async def run(self) -> None:
        """Consume until cancelled. While the broker is away, it is tried again and again."""
        try:
            while True:
                try:
                    consumer = self._new_consumer()
                except SettingsError as error:  # a certificate was spoilt since the start: it may be mended any time
                    self._lost(str(error))
                    await self._back_off()
                    continue
                try:
                    await consumer.start()
                    self._progress.connected()
                    self._lag.consumer = consumer
                    await self._consume(consumer)
                except KafkaError as error:
                    self._lost(await diagnose(self._settings) or repr(error))
                finally:
                    self._lag.consumer = None
                    await _stop(consumer)
                await self._back_off()
        finally:
            await self._dead_letters.close()

    def _lost(self, problem: str) -> None:
        log.warning("consumer.lost", group=self._subscription.group, problem=problem)
        self._progress.lost(problem)

    def _new_consumer(self) -> AIOKafkaConsumer:
        session_ms = self._settings.kafka_session_timeout_ms
        consumer = AIOKafkaConsumer(
            **{**kafka_options(self._settings), "client_id": f"{CLIENT_ID}-{self._subscription.group}"},
            group_id=self._subscription.group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=self._settings.kafka_fetch_wait_ms,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            retry_backoff_ms=500,
            metadata_max_age_ms=min(METADATA_MAX_AGE_MS, session_ms),
        )
        # by pattern: a topic subscribed to by name is created by many brokers when it is missing
        consumer.subscribe(pattern=_pattern(self._subscription.topics))
        return consumer

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            failed = False
            offsets: dict[TopicPartition, int] = {}
            for partition, records in fetched.items():
                for record in records:
                    self._lag.begin(partition, record)
                    if not await self._handle(partition, record):
                        failed = True
                        _seek(consumer, partition, record.offset)
                        break
                    offsets[partition] = record.offset + 1
                else:
                    self._lag.end(partition)
            if offsets:
                await _commit(consumer, offsets)
            if failed:
                await self._back_off()
            elif offsets:
                self._retries.succeeded()

    async def _handle(self, partition: TopicPartition, record: ConsumerRecord) -> bool:
        """Whether the record is done with; if not, it is to be fetched again, after a while."""
        with processing(record, group=self._subscription.group) as span:
            return await self._process(partition, record, span)

    async def _process(self, partition: TopicPartition, record: ConsumerRecord, span: Span) -> bool:
        place = (partition, record.offset)
        try:
            await self._subscription.handle(record)
        except Unprocessable as error:
            fail(span, type(error).__name__)
            return await self._dead_letter(record, reason=str(error))
        except self._subscription.transient as error:
            fail(span, type(error).__name__)
            log.warning("record.delayed", topic=record.topic, offset=record.offset, error=repr(error))
            self._failed(record, repr(error))
            return False
        except Exception as error:  # the border of the loop: one bad record must not stop all others for good
            fail(span, type(error).__name__)
            attempts = self._attempts.get(place, 0) + 1
            log.exception("record.failed", topic=record.topic, offset=record.offset, attempt=attempts)
            where = locate(error)
            self._failed(record, where)
            if attempts < ATTEMPTS:
                self._attempts[place] = attempts
                return False
            self._attempts.pop(place, None)
            reason = f"{ATTEMPTS} attempts failed, the last with {where}"
            return await self._dead_letter(record, reason=reason, error=error)
        self._attempts.pop(place, None)
        return True

    async def _dead_letter(self, record: ConsumerRecord, *, reason: str, error: Exception | None = None) -> bool:
        """Keep the record, and publish it to its topic's dead letters; false while that does not work."""
        self._failed(record, reason)
        letter = DeadLetter.of(record, consumer=self._subscription.group, reason=reason, error=error)
        topic = letter.dead_letter_topic
        try:
            await self._subscription.refused(letter)
            await self._dead_letters.send_one(
                topic=topic, key=record.key, value=record.value, headers=letter.to_kafka()
            )
        except Exception as problem:  # the border of the loop: a record that cannot be put aside is not done with
            log.exception("record.not_dead_lettered", topic=topic, offset=record.offset)
            self._failed(record, f"not put to the dead letters: {type(problem).__name__}")
            return False
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        DEAD_LETTERS.labels(record.topic).inc()
        log.error("record.dead_lettered", **place, reason=reason)
        return True

    def _failed(self, record: ConsumerRecord, error: str) -> None:
        self._progress.failed(f"{record.topic}/{record.partition}/{record.offset}: {error}")

    async def _back_off(self) -> None:
        await asyncio.sleep(self._retries.failed())


def _pattern(topics: Sequence[str]) -> str:
    return f"^({'|'.join(topic.replace('.', '[.]') for topic in topics)})$"


def _seek(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
    try:
        consumer.seek(partition, offset)
    except IllegalStateError:
        log.info("consumer.partition_gone", partition=partition.partition)  # its next owner starts there


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    try:
        await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        # the group has changed hands meanwhile: the records come again, to us or to another
        log.info("consumer.not_committed", error=type(error).__name__)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group. A consumer that is still joining it has nothing to hand over, and is cut off."""
    stopping = asyncio.create_task(consumer.stop())
    timeout = _LEAVE_SECONDS if consumer.assignment() else _ABANDON_JOIN_SECONDS
    await asyncio.wait({stopping}, timeout=timeout)
    if not stopping.done():
        await consumer._client.close()  # private, but what else ends the join, which takes seconds
    try:
        await asyncio.wait_for(stopping, _LEAVE_SECONDS)
    except (KafkaError, TimeoutError) as error:
        log.warning("consumer.not_left", error=repr(error))
