"""CloudEvents 1.0 over Kafka, binary mode: attributes are headers, the value is the data as it stands.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"

EVENT_HEADERS: Final = frozenset(
    {"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_seq", "ce_time", "traceparent"}
)
"""What every event of ours carries, but for its content type."""

Headers = list[tuple[str, bytes]]


class NotAnEvent(Exception):
    """A record lacks what every event of ours carries; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHeaders:
    """What the headers of one event say.

    Attributes:
        id: consumers deduplicate on it.
        source: ``/ordersaga/<service>``.
        subject: the record's key.
        seq: our extension attribute: gapless per aggregate.
        traceparent: of the Distributed Tracing extension, as the header of its own name that tracers look for.
    """

    id: str
    type: str
    source: str
    subject: str
    seq: int
    traceparent: str
    time: datetime

    def to_kafka(self) -> Headers:
        """As Kafka headers."""
        texts = {
            "ce_specversion": SPEC_VERSION,
            "ce_id": self.id,
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_subject": self.subject,
            "ce_seq": str(self.seq),
            "ce_time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "traceparent": self.traceparent,
            "content-type": CONTENT_TYPE,
        }
        return [(name, text.encode()) for name, text in texts.items()]

    @classmethod
    def from_kafka(cls, headers: Iterable[tuple[str, bytes | None]]) -> EventHeaders:
        """Read the headers of a record.

        Raises:
            NotAnEvent: one is missing or does not fit.
        """
        values = {name: value for name, value in headers if value is not None}
        try:
            texts = {name: value.decode() for name, value in values.items() if name in EVENT_HEADERS}
            if texts["ce_specversion"] != SPEC_VERSION:
                raise NotAnEvent(f"ce_specversion is {texts['ce_specversion']!r}, not {SPEC_VERSION}")
            return cls(
                id=texts["ce_id"],
                type=texts["ce_type"],
                source=texts["ce_source"],
                subject=texts["ce_subject"],
                seq=int(texts["ce_seq"]),
                traceparent=texts["traceparent"],
                time=datetime.fromisoformat(texts["ce_time"]),
            )
        except KeyError as error:
            raise NotAnEvent(f"header {error.args[0]} is missing") from None
        except ValueError as error:
            raise NotAnEvent(f"a header does not fit: {error}") from None
