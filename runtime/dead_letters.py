"""A dead letter: a record that a consumer could not process, with what a person has to know about it.

It goes to ``<topic>.dlq`` as it was, with headers of ours besides. There is no standard for their names: Kafka
Connect (KIP-298) and Kafka Streams (KIP-1034) have each their own.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiokafka import ConsumerRecord

from domain.events import DEAD_LETTER_SUFFIX

REASON_HEADER: Final = "dlq_reason"

RawHeaders = tuple[tuple[str, bytes | None], ...]
"""Headers as Kafka has them: of a foreign record, one may be null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that was refused, and why.

    Attributes:
        topic: where it was read; with `partition` and `offset`, its place.
        recorded_at: when it was written. A broker that lost its topics gives places away again: with this, none twice.
        consumer: the group that refused it.
        reason: in words that quote no data.
        error: the kind of the error and where it was raised, where a defect is the reason; else empty.
        refused_at: when.
    """

    topic: str
    partition: int
    offset: int
    recorded_at: datetime
    key: bytes | None
    value: bytes | None
    headers: RawHeaders
    consumer: str
    reason: str
    error: str
    refused_at: datetime

    @classmethod
    def of(cls, record: ConsumerRecord, *, consumer: str, reason: str, error: BaseException | None) -> DeadLetter:
        """The record, refused now; `error` if a defect is why."""
        return cls(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            recorded_at=datetime.fromtimestamp(record.timestamp / 1_000, UTC),
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            consumer=consumer,
            reason=reason,
            error="" if error is None else locate(error),
            refused_at=datetime.now(UTC),
        )

    @property
    def dead_letter_topic(self) -> str:
        """Where it goes."""
        return self.topic + DEAD_LETTER_SUFFIX

    def to_kafka(self) -> list[tuple[str, bytes | None]]:
        """The record's own headers, and ours."""
        ours = {
            REASON_HEADER: self.reason,
            "dlq_error": self.error,
            "dlq_group": self.consumer,
            "dlq_topic": self.topic,
            "dlq_partition": str(self.partition),
            "dlq_offset": str(self.offset),
            "dlq_timestamp": _to_text(self.recorded_at),
            "dlq_refused_at": _to_text(self.refused_at),
        }
        return [*self.headers, *((name, text.encode()) for name, text in ours.items() if text)]

    def to_record(self) -> ConsumerRecord:
        """The record as it was read."""
        milliseconds = int(self.recorded_at.timestamp() * 1_000)
        return ConsumerRecord(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            timestamp=milliseconds,
            timestamp_type=0,
            key=self.key,
            value=self.value,
            checksum=None,
            serialized_key_size=len(self.key or b""),
            serialized_value_size=len(self.value or b""),
            headers=self.headers,
        )


def locate(error: BaseException) -> str:
    """The kind of an error and where it was raised: its text, which may quote data, is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    kind = type(error).__name__
    return f"{kind} in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else kind


def _to_text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
