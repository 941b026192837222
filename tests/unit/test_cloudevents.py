"""CloudEvents in Kafka headers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from runtime.cloudevents import EventHeaders, NotAnEvent

HEADERS = EventHeaders(
    id="order:o1:2",
    type="order.created",
    source="/ordersaga/order",
    subject="o1",
    seq=2,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    time=datetime(2026, 11, 22, 9, 5, 0, 7000, tzinfo=UTC),
)


def test_headers_survive_the_way_through_kafka() -> None:
    assert EventHeaders.from_kafka(HEADERS.to_kafka()) == HEADERS


def test_times_are_told_in_utc() -> None:
    local = HEADERS.time.astimezone(timezone(timedelta(hours=2)))
    moved = replace(HEADERS, time=local)

    assert dict(moved.to_kafka())["ce_time"] == b"2026-11-22T09:05:00.007000Z"


@pytest.mark.parametrize(
    "name", ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_seq", "ce_time", "traceparent"]
)
def test_a_missing_header_is_named(name: str) -> None:
    headers = [(known, value) for known, value in HEADERS.to_kafka() if known != name]

    with pytest.raises(NotAnEvent, match=name):
        EventHeaders.from_kafka(headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ce_specversion", b"0.3"), ("ce_seq", b"two"), ("ce_time", b"yesterday"), ("ce_id", b"\xff")],
)
def test_a_header_that_does_not_fit_is_refused(name: str, value: bytes) -> None:
    headers = [(known, value if known == name else known_value) for known, known_value in HEADERS.to_kafka()]

    with pytest.raises(NotAnEvent):
        EventHeaders.from_kafka(headers)
