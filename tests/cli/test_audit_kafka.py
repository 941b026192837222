"""What the audit reads of Kafka."""

from __future__ import annotations

from pathlib import Path

from cli.audit.read_outside import read_kafka
from domain.events import ORDER_EVENTS
from domain.ids import new_id
from runtime.cloudevents import Headers
from runtime.kafka import Publisher
from runtime.settings import Settings
from tests.support.brokers import EmbeddedBroker


async def test_records_that_are_no_events_of_ours_are_passed_over(tmp_path: Path) -> None:
    broker, order_id = EmbeddedBroker(tmp_path / "kafka.log"), new_id()
    await broker.start()
    settings = Settings(**broker.settings)
    publisher = Publisher(settings)
    records: list[tuple[bytes | None, Headers]] = [
        (order_id.encode(), [("ce_seq", b"1")]),
        (None, [("ce_seq", b"2")]),
        (order_id.encode(), []),
        (b"\xff", [("ce_seq", b"two")]),
        (order_id.encode(), [("ce_seq", b"1")]),
        (order_id.encode(), [("ce_seq", b"2")]),
    ]
    for key, headers in records:
        await publisher.send_one(topic=ORDER_EVENTS, key=key, value=b"{}", headers=headers)
    await publisher.close()

    assert await read_kafka(settings) == {order_id: [1, 2]}
    await broker.stop()
