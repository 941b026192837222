from __future__ import annotations

from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from domain.events import PARTITIONS, TOPICS
from sandbox.kafka import Kafka
from sandbox.ports import address, free_port


async def test_topics_are_there_and_carry_messages_from_a_producer_to_a_consumer(tmp_path: Path) -> None:
    port = free_port()
    broker = Kafka(port=port, log=tmp_path / "kafka.log")
    await broker.start()
    try:
        admin = AIOKafkaAdminClient(bootstrap_servers=address(port))
        await admin.start()
        described = await admin.describe_topics(list(TOPICS))
        await admin.close()
        assert {topic["topic"]: len(topic["partitions"]) for topic in described} == dict.fromkeys(TOPICS, PARTITIONS)

        async with AIOKafkaProducer(bootstrap_servers=address(port), acks="all") as producer:
            await producer.send_and_wait("order-events", b"{}", key=b"o1", headers=[("ce_id", b"order:o1:1")])
        consumer = AIOKafkaConsumer(
            "order-events", bootstrap_servers=address(port), auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        async with consumer:
            message = await consumer.getone()
        assert (message.key, message.value, message.headers) == (b"o1", b"{}", (("ce_id", b"order:o1:1"),))
    finally:
        await broker.stop()
