"""Spans of events on Kafka (https://opentelemetry.io/docs/specs/semconv/messaging/kafka/)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from aiokafka import ConsumerRecord
from opentelemetry.semconv._incubating.attributes.messaging_attributes import (
    MESSAGING_CONSUMER_GROUP_NAME,
    MESSAGING_DESTINATION_NAME,
    MESSAGING_DESTINATION_PARTITION_ID,
    MESSAGING_KAFKA_MESSAGE_KEY,
    MESSAGING_KAFKA_OFFSET,
    MESSAGING_MESSAGE_ID,
    MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
)
from opentelemetry.trace import Span, SpanKind

from runtime import tracing

_KAFKA: Final = "kafka"
_SEND: Final = "send"
_PROCESS: Final = "process"


def begin_sending(*, topic: str, partition: int, key: str, event_id: str, traceparent: str) -> Span:
    """The span of an event that is sent: in the trace in which it was written, until it is acknowledged."""
    attributes = {
        **_of(_SEND, topic=topic, partition=partition),
        MESSAGING_KAFKA_MESSAGE_KEY: key,
        MESSAGING_MESSAGE_ID: event_id,
    }
    return tracing.begin(
        f"{_SEND} {topic}", SpanKind.PRODUCER, parent={tracing.TRACEPARENT: traceparent}, attributes=attributes
    )


def processing(record: ConsumerRecord, *, group: str) -> AbstractContextManager[Span]:
    """The span around the processing of a record, in the trace that its headers name."""
    if not tracing.is_on():
        return tracing.span(_PROCESS)
    headers = dict(record.headers)
    attributes = {
        **_of(_PROCESS, topic=record.topic, partition=record.partition),
        MESSAGING_CONSUMER_GROUP_NAME: group,
        MESSAGING_KAFKA_OFFSET: record.offset,
    }
    parent = {tracing.TRACEPARENT: headers.get(tracing.TRACEPARENT, b"").decode("ascii", "replace")}
    return tracing.span(f"{_PROCESS} {record.topic}", SpanKind.CONSUMER, parent=parent, attributes=attributes)


def _of(operation: str, *, topic: str, partition: int) -> dict[str, str | int]:
    return {
        MESSAGING_SYSTEM: _KAFKA,
        MESSAGING_OPERATION_NAME: operation,
        MESSAGING_OPERATION_TYPE: operation,
        MESSAGING_DESTINATION_NAME: topic,
        MESSAGING_DESTINATION_PARTITION_ID: str(partition),
    }
