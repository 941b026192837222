"""Outbox rows as Kafka batches: one batch holds all rows of a key that are in flight, in their order.

A batch is stored whole or not at all, so no row of a key can overtake another of the same key. (Records that aiokafka
gathers itself may be split over two batches; the first can expire and the second still be sent.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka.producer.message_accumulator import BatchBuilder
from opentelemetry.trace import Span

from runtime import tracing
from runtime.cloudevents import EventHeaders
from runtime.messaging_spans import begin_sending
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
    spans: list[Span] = field(default_factory=list)
    """One per row, while traces are on."""

    def end_spans(self, error: BaseException | None) -> None:
        """End them: the batch was acknowledged, or failed."""
        for span in self.spans:
            if error is not None:
                tracing.fail(span, type(error).__name__)
            span.end()

    def append(self, row: OutboxRow, *, source: str) -> bool:
        """Put the row in; false if there is no room for it."""
        traceparent = row.traceparent
        if tracing.is_on():
            span = begin_sending(
                topic=self.topic,
                partition=self.partition,
                key=row.key,
                event_id=row.ce_id,
                traceparent=row.traceparent,
            )
            traceparent = tracing.traceparent_of(span) or traceparent
        if not _append(self.builder, row, source=source, traceparent=traceparent):
            return False
        self.rows.append(row)
        if tracing.is_on():
            self.spans.append(span)
        return True


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
        if not batches[place].append(row, source=source):
            full.add(place)
    return list(batches.values())


def _append(builder: BatchBuilder, row: OutboxRow, *, source: str, traceparent: str) -> bool:
    headers = EventHeaders(
        id=row.ce_id,
        type=row.ce_type,
        source=source,
        subject=row.key,
        seq=row.ce_seq,
        traceparent=traceparent,
        time=row.at,
    )
    appended = builder.append(timestamp=None, key=row.key.encode(), value=row.data.encode(), headers=headers.to_kafka())
    return appended is not None
