"""Orders over Apache Kafka while its brokers are killed one after the other: every event is there, in order."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
import structlog.testing
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.produce import ProduceRequest

from cli.events.reading import open_topics
from domain.events import ORDER_EVENTS, PARTITIONS, TOPICS
from domain.ids import new_id
from runtime import kafka
from runtime.kafka import Publisher
from runtime.kafka_connection import diagnose, kafka_options
from runtime.kafka_topics import find_missing
from runtime.settings import Settings
from tests.chaos.conftest import Chaos
from tests.support.client import StackClient, until
from tests.support.real.kafka import KafkaCluster
from tests.support.real.stack import Shopper, stack_on

pytestmark = [pytest.mark.real, pytest.mark.needs("java")]

ORDERS = 200
AT_REST, WHILE_DOWN = 20, 40
UNMARKED = "SELECT count(*) FROM outbox WHERE published_at IS NULL"


class Published(NamedTuple):
    """An event, as a row of an outbox and as a record have it."""

    topic: str
    key: str
    id: str
    seq: int


async def outbox_rows(client: StackClient) -> list[Published]:
    """What all outboxes hold, once all of it is marked as published."""
    rows: list[Published] = []
    for service in client.stack.endpoints.postgres:
        await until(partial(client.rows, service, UNMARKED), lambda answer: answer == [(0,)])
        rows += [Published(*row) for row in await client.rows(service, "SELECT topic, key, ce_id, ce_seq FROM outbox")]
    return rows


async def records_of(rows: Sequence[Published], settings: Settings) -> list[Published]:
    """The records of these events in our topics, partition by partition; others' tests leave records there too."""
    ids = {row.id.encode() for row in rows}
    partitions = [TopicPartition(topic, number) for topic in TOPICS for number in range(PARTITIONS)]
    found: list[Published] = []
    async with AIOKafkaConsumer(**kafka_options(settings), auto_offset_reset="earliest") as consumer:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while [each for each in partitions if await consumer.position(each) < ends[each]]:
            for partition, read in (await consumer.getmany(timeout_ms=500)).items():
                for record in read:
                    headers = dict(record.headers)
                    if headers.get("ce_id") in ids:
                        event_id, seq = headers["ce_id"].decode(), int(headers["ce_seq"])
                        found.append(Published(partition.topic, record.key.decode(), event_id, seq))
    return found


def seqs_by_key(events: Sequence[Published]) -> dict[tuple[str, str], list[int]]:
    """The sequence numbers of each key, in the order of the events."""
    seqs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        seqs[event.topic, event.key].append(event.seq)
    return seqs


class Batch(NamedTuple):
    """What the head of a stored batch says (https://kafka.apache.org/documentation/#recordbatch)."""

    producer: int
    epoch: int
    first_sequence: int
    records: int


def stored_batches(partition: Path) -> Iterator[Batch]:
    """The batches in a broker's log of a partition."""
    for segment in sorted(partition.glob("*.log")):
        data = segment.read_bytes()
        at = 0
        while at + 61 <= len(data):
            length, last_offset_delta, producer, epoch, sequence = struct.unpack_from("!8xi11xi16xqhi", data, at)
            yield Batch(producer, epoch, sequence, last_offset_delta + 1)
            at += 12 + length


@pytest_asyncio.fixture(autouse=True)
async def _whole(apache_kafka: KafkaCluster) -> AsyncIterator[None]:
    """A test that fails leaves no broker down for the next."""
    yield
    if apache_kafka.down:
        await apache_kafka.start(*apache_kafka.down)
        await apache_kafka.until_in_sync()


def numbers_are_gapless(batches: Iterable[Batch]) -> bool:
    """Whether each batch has an idempotent producer, and the number that follows on that of its last one.

    A broker takes no other: that of a batch that comes again is an old one.
    """
    following: dict[tuple[int, int], int] = {}
    for batch in batches:
        producer = batch.producer, batch.epoch
        if batch.producer < 0 or batch.first_sequence != following.get(producer, 0):
            return False
        following[producer] = batch.first_sequence + batch.records
    return True


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The first acknowledgement, which the producer does not get: it hears that the connection broke."""
    send, lost = AIOKafkaClient.send, list[object]()

    async def send_and_lose(self: AIOKafkaClient, node_id: object, request: object, **options: object) -> object:
        answer: object = await send(self, node_id, request, **options)
        if isinstance(request, ProduceRequest) and not lost:
            lost.append(answer)
            raise KafkaConnectionError("the connection broke")
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", send_and_lose)
    return lost


@pytest.mark.timeout(600)
async def test_every_event_is_there_in_order_although_each_broker_was_killed(
    apache_kafka: KafkaCluster, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with stack_on(tmp_path / "var", apache_kafka) as client:
        shopper = await Shopper.enter(client, units=ORDERS)
        bought = list(await shopper.buy(AT_REST))
        victims = [await apache_kafka.leader(ORDER_EVENTS, 0), await apache_kafka.coordinator("notification")]
        for victim in dict.fromkeys([*victims, *apache_kafka.nodes]):
            await apache_kafka.kill(victim)
            bought += await shopper.buy(WHILE_DOWN)
            await apache_kafka.start(victim)
            bought += await shopper.buy(AT_REST)
            await apache_kafka.until_in_sync()
        assert len(bought) == ORDERS
        rows = await outbox_rows(client)
        published = await records_of(rows, client.stack.settings)
        await Chaos(client=client).orders_agree()
        mails = await client.mails(shopper.customer.email, at_least=2 * ORDERS)

    firsts = list(dict.fromkeys(published))
    assert sorted(firsts) == sorted(rows)
    assert {key: seqs for key, seqs in seqs_by_key(firsts).items() if seqs != list(range(1, len(seqs) + 1))} == {}
    assert len({mail["message_id"] for mail in mails}) == 2 * ORDERS
    for partition in range(PARTITIONS):
        leader = await apache_kafka.leader(ORDER_EVENTS, partition)
        assert numbers_are_gapless(stored_batches(apache_kafka.data(leader) / f"{ORDER_EVENTS}-{partition}"))
    repeats = len(published) - len(firsts)
    record_property("figure", f"Apache Kafka, each broker killed once: {len(rows)} events, {repeats} of them repeated")


@pytest.mark.parametrize(("idempotent", "stored"), [(True, 1), (False, 2)], ids=["idempotent", "not idempotent"])
async def test_a_batch_whose_acknowledgement_was_lost_is_stored_once_by_an_idempotent_producer(
    apache_kafka: KafkaCluster, lost: list[object], *, idempotent: bool, stored: int
) -> None:
    topic = f"lost-{new_id()}"
    await apache_kafka.create_topic(topic, min_in_sync=2)
    publisher = Publisher(apache_kafka.settings(kafka_idempotence=idempotent))
    try:
        await publisher.send_one(topic=topic, key=b"1", value=b"{}", headers=[])
    except KafkaError:  # the relay would do the same
        await publisher.send_one(topic=topic, key=b"1", value=b"{}", headers=[])
    await publisher.close()

    assert len(lost) == 1
    log = apache_kafka.data(await apache_kafka.leader(topic, 0)) / f"{topic}-0"
    assert len(list(stored_batches(log))) == stored


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kafka_password": "wrong"}, "it refused our login; see ORDERSAGA_KAFKA_USERNAME and ORDERSAGA_KAFKA_PASS"),
        ({"kafka_sasl_mechanism": "PLAIN"}, "it does not know this kind of login; see ORDERSAGA_KAFKA_SASL_MECHANISM"),
        ({"kafka_ca_file": None}, "its certificate is not trusted: unable to get local issuer certificate; see ORDER"),
        ({"kafka_security_protocol": "PLAINTEXT"}, "it closed the connection: encryption or login are not what it wa"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "it closed the connection: encryption or login are not what"),
        ({"kafka_security_protocol": "SSL"}, "it closed the connection: encryption or login are not what it wants; s"),
    ],
    ids=["wrong password", "other login", "untrusted certificate", "plain text", "login in plain text", "no login"],
)
async def test_what_keeps_us_from_kafka_is_said_of_each_broker(
    apache_kafka: KafkaCluster, changes: Mapping[str, str], problem: str
) -> None:
    told = await diagnose(apache_kafka.settings(**changes))

    assert told.count(problem) == len(apache_kafka.nodes)


async def test_a_port_that_speaks_no_tls_is_named(apache_kafka: KafkaCluster) -> None:
    told = await diagnose(apache_kafka.settings(kafka_bootstrap=apache_kafka.plain))

    assert told.startswith(f"{apache_kafka.plain}: it closed the connection: encryption or login are not what it wants")


async def test_nothing_is_wrong_with_the_right_settings(apache_kafka: KafkaCluster) -> None:
    assert await diagnose(apache_kafka.settings()) == ""
    assert await find_missing(apache_kafka.settings(), topics=TOPICS) is None


async def test_a_missing_topic_is_named_and_not_created_by_asking_for_it(apache_kafka: KafkaCluster) -> None:
    told = await find_missing(apache_kafka.settings(), topics=[*TOPICS, "returns"])

    assert told == "Kafka: topic returns is missing; run `ordersaga setup kafka`"
    publisher = Publisher(apache_kafka.settings())
    with pytest.raises(KafkaError):
        await publisher.send_one(topic="returns", key=b"1", value=b"{}", headers=[])
    await publisher.close()
    assert "returns" not in await apache_kafka.topics()


async def test_topics_are_read_from_any_moment_on_and_no_consumer_group_comes_of_it(apache_kafka: KafkaCluster) -> None:
    topic, settings = f"tail-{new_id()}", apache_kafka.settings()
    await apache_kafka.create_topic(topic, min_in_sync=2)
    publisher = Publisher(settings)
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    groups = await admin.list_consumer_groups()
    await publisher.send_one(topic=topic, key=b"1", value=b"first", headers=[("null", None)])
    await asyncio.sleep(0.01)
    between = datetime.now(UTC)
    await publisher.send_one(topic=topic, key=b"1", value=b"second", headers=[])

    beginning = datetime.fromtimestamp(0, UTC)
    read = {moment: await _stored(settings, topic, moment) for moment in (beginning, between, datetime.now(UTC), None)}
    async with open_topics(settings, [topic], since=None) as reader:
        following = asyncio.ensure_future(anext(reader.following(lambda problem: None)))
        await publisher.send_one(topic=topic, key=b"1", value=b"third", headers=[])
        followed = await following

    assert list(read.values()) == [[b"first", b"second"], [b"second"], [], []]
    assert followed.value == b"third"
    assert await admin.list_consumer_groups() == groups
    await publisher.close()
    await admin.close()


async def _stored(settings: Settings, topic: str, since: datetime | None) -> list[bytes]:
    async with open_topics(settings, [topic], since=since) as reader:
        return [record.value async for record in reader.stored()]


async def test_nothing_is_acknowledged_without_enough_replicas_and_that_is_said_in_words(
    apache_kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "_PATIENCE_SECONDS", 1.0)
    topic = f"strict-{new_id()}"
    await apache_kafka.create_topic(topic, min_in_sync=3)
    settings, leader = apache_kafka.settings(), await apache_kafka.leader(topic, 0)
    victim = next(node for node in apache_kafka.nodes if node != leader)
    publisher = Publisher(settings)
    await publisher.send_one(topic=topic, key=b"1", value=b"before", headers=[])

    await apache_kafka.kill(victim)
    await apache_kafka.until_in_sync(2)
    with structlog.testing.capture_logs() as logs:
        sending = asyncio.create_task(publisher.send_one(topic=topic, key=b"1", value=b"within", headers=[]))
        told = await until(partial(find_missing, settings, topics=[topic]), lambda problem: problem is not None)
        await until(partial(_complaints, logs), lambda complaints: len(complaints) > 1)
    assert not sending.done()
    await apache_kafka.start(victim)
    await sending
    await publisher.close()
    await apache_kafka.until_in_sync()

    assert told == (
        f"Kafka: too few replicas are in sync of topic {topic} (2 of 3): nothing is acknowledged until brokers are "
        "back; see min.insync.replicas"
    )
    assert {entry["problem"] for entry in await _complaints(logs)} == {told}
    assert await find_missing(settings, topics=[topic]) is None
    values = [batch.records for batch in stored_batches(apache_kafka.data(leader) / f"{topic}-0")]
    assert values == [1, 1]


async def _complaints(logs: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    return [entry for entry in logs if entry["event"] == "kafka.not_acknowledged"]
