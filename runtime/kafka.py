"""Publishing to Kafka: batches that are acknowledged by all replicas, over a connection that comes back by itself.

Nothing here creates a topic: clients ask for the metadata of all topics, never by name, because asking by name makes
many brokers create what is missing, with the wrong number of partitions.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest

from runtime.backoff import Backoff, Retries
from runtime.kafka_connection import diagnose, kafka_options
from runtime.kafka_topics import find_missing
from runtime.settings import Settings, SettingsError

log = structlog.stdlib.get_logger(__name__)

REQUEST_TIMEOUT_MS: Final = 5_000
BATCH_BYTES: Final = 131_072
METADATA_MAX_AGE_MS: Final = 60_000
_CONNECT_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 10.0
"""How long an acknowledgement may take before we say why it does."""
_BACKOFF: Final = Backoff(first=0.1, longest=2.0)
_METADATA_SECONDS: Final = 0.1
"""From one look for missing topics to the next."""

_partition_of = DefaultPartitioner()


class BrokerLost(KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """The producer's broker was away for a while; a new producer has to look at what is there now."""


class _OneConnectionProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is untyped
    """A producer that sends nothing over a connection whose broker it has not asked for its topics.

    For brokers without idempotent producers. The embedded one forgets its topics in a restart, and takes (and loses)
    records for topics that it does not have; so the metadata of the one before must not be used for the next.
    And without idempotence a retry inside the producer protects nothing that a retry by its user does not.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lost = False
        self.refresh = self.client.force_metadata_update
        self._send_request = self.client.send
        self.client.force_metadata_update = self._on_doubt
        self.client.send = self._send_unless_lost

    def _on_doubt(self) -> Any:
        """Aiokafka asks for new metadata when a connection broke or a broker says that the old are wrong."""
        self.lost = True
        return self.refresh()

    async def _send_unless_lost(self, node_id: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, ProduceRequest):
            return await self._send_request(node_id, request, **options)
        if self.lost:
            raise BrokerLost
        try:
            return await self._send_request(node_id, request, **options)
        except KafkaError as error:
            self.lost = True
            raise BrokerLost(*error.args) from error


class Publisher:
    """Sends batches to Kafka. While the broker is away every call fails at once; the caller tries again later.

    Raises:
        SettingsError: the settings for Kafka do not fit.
    """

    def __init__(self, settings: Settings) -> None:
        kafka_options(settings)  # what is wrong with them is to end the start; certificates are read at each connection
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._retries = Retries(_BACKOFF)
        self._not_before = 0.0
        self._complained_at = -math.inf

    async def partition(self, topic: str, key: bytes) -> int:
        """Where records of this key go: murmur2 of the key, as every Kafka client has it by default.

        Raises:
            KafkaError: the broker is away, or has no such topic.
        """
        producer = await self._connected()
        partitions = producer.client.cluster.partitions_for_topic(topic)
        if partitions is None:
            await self._refresh_topics(producer)
            partitions = producer.client.cluster.partitions_for_topic(topic)
        if not partitions:
            raise UnknownTopicOrPartitionError(topic)
        return int(_partition_of(key, sorted(partitions), []))

    async def batch(self) -> BatchBuilder:
        """An empty batch; it holds up to `BATCH_BYTES`, or one larger record.

        Raises:
            KafkaError: the broker is away.
        """
        return (await self._connected()).create_batch()

    async def send(self, batch: BatchBuilder, *, topic: str, partition: int) -> None:
        """Send a batch; it is stored, in full, on all replicas in sync when this returns.

        Raises:
            KafkaError: it may or may not be stored.
        """
        producer = await self._connected()
        try:
            if producer.client.cluster.partitions_for_topic(topic) is None:
                raise UnknownTopicOrPartitionError(topic)
            acknowledgement = await producer.send_batch(batch, topic, partition=partition)
            while not (await asyncio.wait({acknowledgement}, timeout=_PATIENCE_SECONDS))[0]:
                await self._complain(topic)
            await acknowledgement
        except KafkaError as error:
            if _is_fatal(error):
                await self._drop(producer)
            raise

    async def _complain(self, topic: str) -> None:
        """Say why nothing is acknowledged, once for all that wait: an idempotent producer tries again for ever."""
        now = asyncio.get_running_loop().time()
        if now >= self._complained_at + _PATIENCE_SECONDS:
            self._complained_at = now
            problem = await find_missing(self._settings, topics=[topic])
            log.warning("kafka.not_acknowledged", topic=topic, problem=problem or "Kafka is slow")

    async def send_one(
        self, *, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> None:
        """Send one record, as `send` does."""
        batch = await self.batch()
        batch.append(timestamp=None, key=key, value=value, headers=headers)
        await self.send(batch, topic=topic, partition=await self.partition(topic, key or b""))

    async def close(self) -> None:
        """Close the connection; what has not been acknowledged by then may be lost."""
        async with self._connecting:
            if self._producer is not None:
                producer, self._producer = self._producer, None
                await _stop(producer)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if isinstance(self._producer, _OneConnectionProducer) and self._producer.lost:
                producer, self._producer = self._producer, None
                await _stop(producer)
            if self._producer is None:
                self._producer = await self._connect()
            return self._producer

    async def _connect(self) -> AIOKafkaProducer:
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise KafkaConnectionError("the broker is away; the next attempt is due soon")
        try:
            producer = _new_producer(self._settings)
        except SettingsError as error:  # a certificate was spoilt since the start: it may be mended any time
            self._not_before = loop.time() + self._retries.failed()
            log.warning("kafka.away", problem=str(error))
            raise KafkaConnectionError(str(error)) from None
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await producer.start()
                await _refresh_metadata(producer)
        except BaseException as error:
            await _stop(producer)
            if not isinstance(error, (KafkaError, TimeoutError)):
                raise
            self._not_before = loop.time() + self._retries.failed()
            log.warning("kafka.away", problem=await diagnose(self._settings) or repr(error))
            raise KafkaConnectionError(*error.args) from error
        self._retries.succeeded()
        log.info("kafka.connected")
        return producer

    async def _refresh_topics(self, producer: AIOKafkaProducer) -> None:
        """Ask once more for the topics, but not more often than every `_METADATA_SECONDS`."""
        async with self._connecting:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._not_before:
                self._not_before = loop.time() + _METADATA_SECONDS
                await _refresh_metadata(producer)

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        async with self._connecting:
            if self._producer is producer:
                self._producer = None
                await _stop(producer)


def _new_producer(settings: Settings) -> AIOKafkaProducer:
    options: dict[str, Any] = {
        **kafka_options(settings),
        "acks": "all",
        "max_batch_size": BATCH_BYTES,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
    }
    if settings.kafka_idempotence:
        return AIOKafkaProducer(enable_idempotence=True, **options)
    return _OneConnectionProducer(**options)


async def _refresh_metadata(producer: AIOKafkaProducer) -> None:
    """Fetch the metadata of all topics over the connection that records will take.

    Raises:
        KafkaConnectionError: nobody answered.
    """
    own = isinstance(producer, _OneConnectionProducer)
    if not await (producer.refresh() if own else producer.client.force_metadata_update()):
        raise KafkaConnectionError("no broker answers a request for metadata")


def _is_fatal(error: KafkaError) -> bool:
    """Whether the producer that raised it is of no use any more."""
    if type(error) is KafkaError:  # aiokafka's sender task has died
        return True
    return isinstance(error, (BrokerLost, OutOfOrderSequenceNumber, ProducerClosed, ProducerFenced))


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer, also one that cannot get rid of what it holds."""
    try:
        await asyncio.wait_for(producer.stop(), REQUEST_TIMEOUT_MS / 1000)
    except (KafkaError, TimeoutError) as error:
        log.warning("kafka.producer_not_flushed", error=repr(error))
        await producer.client.close()
