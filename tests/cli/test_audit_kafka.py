"""What the audit reads of Kafka."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cli.audit.patience import Unreadable
from cli.audit.read_outside import Published, read_kafka
from domain.events import ORDER_EVENTS
from domain.ids import new_id
from runtime.cloudevents import EventHeaders, Headers
from runtime.kafka import Publisher
from runtime.settings import Settings
from tests.support.brokers import EmbeddedBroker


def event(order_id: str, seq: int, *, kind: str = "order.paid") -> Headers:
    return EventHeaders(
        id=f"order:{order_id}:{seq}",
        type=kind,
        source="/ordersaga/order",
        subject=order_id,
        seq=seq,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        time=datetime.now(UTC),
    ).to_kafka()


async def test_records_that_are_no_events_of_ours_are_counted_and_change_nothing(tmp_path: Path) -> None:
    broker, order_id = EmbeddedBroker(tmp_path / "kafka.log"), new_id()
    await broker.start()
    settings = Settings(**broker.settings)
    publisher = Publisher(settings)
    key = order_id.encode()
    ours: list[tuple[bytes | None, Headers]] = [
        (key, event(order_id, 1)),
        (key, event(order_id, 1)),
        (key, event(order_id, 2)),
    ]
    foreign: list[tuple[bytes | None, Headers]] = [
        (None, []),
        (b"\xff", []),
        (key, [("ce_seq", b"7")]),
        (key, event(order_id, 7, kind="com.example.order.shipped")),
        (b"another key", event(order_id, 8)),
        (b"no id", event("no id", 9)),
        (key, [*event(order_id, 1), ("ce_seq", b"9" * 5_000)]),
        (key, [*event(order_id, 1), ("ce_id", b"\xff\xfe")]),
    ]
    for record_key, headers in (*ours, *foreign):
        await publisher.send_one(topic=ORDER_EVENTS, key=record_key, value=b"\x80{", headers=headers)
    await publisher.close()

    assert await read_kafka(settings) == Published(seqs={order_id: [1, 2]}, foreign=len(foreign), forgotten_until=None)
    await broker.stop()


async def test_of_a_partition_that_lacks_its_first_records_the_moment_of_the_first_one_left_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, order_id = EmbeddedBroker(tmp_path / "kafka.log"), new_id()
    await broker.start()
    settings = Settings(**broker.settings)
    publisher = Publisher(settings)
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    for seq in (3, 4):
        await publisher.send_one(topic=ORDER_EVENTS, key=order_id.encode(), value=b"{}", headers=event(order_id, seq))
    await publisher.close()

    async def forgotten(_: AIOKafkaConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 2)  # the embedded broker itself forgets nothing

    monkeypatch.setattr(AIOKafkaConsumer, "beginning_offsets", forgotten)
    published = await read_kafka(settings)

    assert published.seqs == {order_id: [3, 4]}
    assert published.forgotten_until is not None
    assert began <= published.forgotten_until <= datetime.now(UTC)
    await broker.stop()


async def test_a_broker_without_the_topic_is_not_set_up(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "kafka.log")
    await broker.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.settings["kafka_bootstrap"])
    await admin.start()
    await admin.delete_topics([ORDER_EVENTS])
    await admin.close()

    with pytest.raises(Unreadable, match="topic order-events is missing; run `ordersaga setup kafka`"):
        await read_kafka(Settings(**broker.settings))

    await broker.stop()
