"""Outbox rows as Kafka batches: one batch holds all rows of a key that are in flight, in their order.

A batch is stored whole or not at all, so no row of a key can overtake another of the same key. (Records that aiokafka
gathers itself may be split over two batches; the first can expire and the second still be sent.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka.producer.message_accumulator import BatchBuilder

from runtime.cloudevents import EventHeaders
from workers.relay.database import OutboxRow


class Partitioner(Protocol):
    """What of `runtime.kafka.Publisher` batches are made with."""

    async def partition(self, topic: str, key: bytes) -> int:
        """Where records of this key go."""

    async def batch(self) -> BatchBuilder:
        """An empty batch."""


@dataclass(slots=True, kw_only=True)
class OutgoingBatch:
    """Rows for one partition."""

    topic: str
    partition: int
    builder: BatchBuilder
    rows: list[OutboxRow] = field(default_factory=list)


async def pack(partitioner: Partitioner, rows: Sequence[OutboxRow], *, source: str) -> list[OutgoingBatch]:
    """Pack rows, which are sorted by id, one batch per partition. What does not fit is left out, for the next time.

    Raises:
        KafkaError: the broker is away, or lacks a topic.
    """
    batches: dict[tuple[str, int], OutgoingBatch] = {}
    full: set[tuple[str, int]] = set()
    for row in rows:
        partition = await partitioner.partition(row.topic, row.key.encode())
        place = (row.topic, partition)
        if place in full:
            continue  # smaller than the row that did not fit, it would overtake it
        if place not in batches:
            batches[place] = OutgoingBatch(topic=row.topic, partition=partition, builder=await partitioner.batch())
        if not _append(batches[place].builder, row, source=source):
            full.add(place)
            continue
        batches[place].rows.append(row)
    return list(batches.values())


def _append(builder: BatchBuilder, row: OutboxRow, *, source: str) -> bool:
    headers = EventHeaders(
        id=row.ce_id,
        type=row.ce_type,
        source=source,
        subject=row.key,
        seq=row.ce_seq,
        traceparent=row.traceparent,
        time=row.at,
    )
    appended = builder.append(timestamp=None, key=row.key.encode(), value=row.data.encode(), headers=headers.to_kafka())
    return appended is not None
