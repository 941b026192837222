"""Outbox rows as Kafka batches: one batch holds all rows of a key that are under way, in their order.

A batch is stored whole or not at all, so no row of a key can overtake another of the same key. (Records that aiokafka
gathers itself may be split over two batches; the first can expire and the second still be sent.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka.producer.message_accumulator import BatchBuilder

from runtime.cloudevents import EventHeaders
from runtime.kafka import Publisher
from workers.relay_outbox import Key, OutboxRow


@dataclass(slots=True, kw_only=True)
class OutgoingBatch:
    """Rows for one partition."""

    topic: str
    partition: int
    builder: BatchBuilder
    ids: list[int] = field(default_factory=list)
    written_at: list[datetime] = field(default_factory=list)
    keys: set[Key] = field(default_factory=set)


async def pack(publisher: Publisher, rows: Sequence[OutboxRow], *, source: str) -> list[OutgoingBatch]:
    """Pack rows, which are sorted by id, one batch per partition. What does not fit is left out, for the next time.

    Raises:
        KafkaError: the broker is away, or lacks a topic.
    """
    batches: dict[tuple[str, int], OutgoingBatch] = {}
    full: set[tuple[str, int]] = set()
    for row in rows:
        partition = await publisher.partition(row.topic, row.key.encode())
        place = (row.topic, partition)
        if place in full:
            continue
        if place not in batches:
            batches[place] = OutgoingBatch(topic=row.topic, partition=partition, builder=await publisher.batch())
        if not _append(batches[place].builder, row, source=source):
            full.add(place)
            continue
        batches[place].ids.append(row.id)
        batches[place].written_at.append(row.at)
        batches[place].keys.add((row.topic, row.key))
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
