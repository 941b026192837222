"""The outbox relay on a real PostgreSQL and the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from psycopg import sql
from pydantic import SecretStr

from domain.events import ORDER_EVENTS, PARTITIONS
from domain.ids import new_id
from runtime.kafka import Publisher
from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.kafka import Kafka
from sandbox.ports import address, free_port
from workers import relay, relay_database
from workers.relay_outbox import LEASE_SECONDS, RelayedDatabase

AT = datetime(2026, 11, 22, 10, 30, 0, 125000, tzinfo=UTC)
Connection = psycopg.AsyncConnection[tuple[object, ...]]


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Outbox:
    """An outbox of its own, in a schema of its own."""

    def __init__(self, dsn: str, connection: Connection) -> None:
        self.dsn = dsn
        self.connection = connection

    async def add(self, *, key: str, seq: int) -> None:
        await self.connection.execute(
            "INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (ORDER_EVENTS, key, f"order:{key}:{seq}", "order.received", seq, f'{{"seq": {seq}}}', TRACEPARENT, AT),
        )
        await self.connection.execute("NOTIFY outbox")

    async def unpublished(self) -> list[str]:
        cursor = await self.connection.execute("SELECT ce_id FROM outbox WHERE published_at IS NULL ORDER BY id")
        return [str(ce_id) for (ce_id,) in await cursor.fetchall()]


@pytest_asyncio.fixture
async def outbox(databases: Mapping[str, str]) -> AsyncIterator[Outbox]:
    schema = f"relay_{new_id().replace('-', '')}"
    dsn = f"{databases['inventory']}?options=-csearch_path%3D{schema}"
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        await connection.execute("CREATE TABLE outbox (LIKE public.outbox INCLUDING ALL)")
        await connection.execute("CREATE TABLE relay_lease (LIKE public.relay_lease INCLUDING ALL)")
        yield Outbox(dsn, connection)
        await connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


class Broker:
    """The embedded broker, which can be taken away and given back (empty) on the same port."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._kafka = Kafka(port=self.port, log=log)

    async def start(self) -> None:
        await self._kafka.start()

    async def stop(self) -> None:
        await self._kafka.stop()

    async def records(self, *, at_least: int) -> Sequence[ConsumerRecord]:
        """Everything in the topic, partition by partition."""
        async with AIOKafkaConsumer(
            bootstrap_servers=address(self.port), auto_offset_reset="earliest", fetch_max_wait_ms=50
        ) as consumer:
            consumer.assign([TopicPartition(ORDER_EVENTS, number) for number in range(PARTITIONS)])
            found: list[ConsumerRecord] = []
            async with asyncio.timeout(20):
                while len(found) < at_least:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += records
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
            return found


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path / "kafka.log")
    await broker.start()
    yield broker
    await broker.stop()


@asynccontextmanager
async def relaying(settings: Settings) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    lifecycle = Lifecycle(stopping)
    task = asyncio.create_task(relay.run(settings, lifecycle))
    try:
        async with asyncio.timeout(10):
            await lifecycle.started.wait()
        yield
    finally:
        stopping.set()
        await task


def settings_for(outbox: Outbox, broker: Broker) -> Settings:
    return Settings(
        kafka_bootstrap=address(broker.port),
        kafka_idempotence=False,
        relay_dsns={"inventory": SecretStr(outbox.dsn)},
        shutdown_grace=1,
    )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0.02)


async def all_published(outbox: Outbox) -> bool:
    return not await outbox.unpublished()


def seqs_by_key(records: Sequence[ConsumerRecord]) -> dict[str, list[int]]:
    seqs: dict[str, list[int]] = {}
    for record in records:
        headers = dict(record.headers)
        seqs.setdefault(record.key.decode(), []).append(int(headers["ce_seq"]))
    return seqs


def first_occurrences(seqs: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(seqs))


async def test_a_row_becomes_a_binary_mode_cloud_event(outbox: Outbox, broker: Broker) -> None:
    key = new_id()

    async with relaying(settings_for(outbox, broker)):
        await outbox.add(key=key, seq=1)
        [record] = await broker.records(at_least=1)
        await until(lambda: all_published(outbox))

    assert (record.key, record.value) == (key.encode(), b'{"seq": 1}')
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": f"order:{key}:1".encode(),
        "ce_type": b"order.received",
        "ce_source": b"/ordersaga/inventory",
        "ce_subject": key.encode(),
        "ce_seq": b"1",
        "ce_time": b"2026-11-22T10:30:00.125000Z",
        "traceparent": TRACEPARENT.encode(),
        "content-type": b"application/json",
    }


async def test_rows_of_a_key_are_published_in_their_order(outbox: Outbox, broker: Broker) -> None:
    keys = [new_id() for _ in range(20)]

    async with relaying(settings_for(outbox, broker)):
        for seq in range(1, 31):
            for key in keys:
                await outbox.add(key=key, seq=seq)
        await until(lambda: all_published(outbox))
        records = await broker.records(at_least=600)

    assert seqs_by_key(records) == {key: list(range(1, 31)) for key in keys}


async def test_what_was_written_while_the_broker_was_away_is_published_in_order_when_it_is_back(
    outbox: Outbox, broker: Broker
) -> None:
    keys = [new_id() for _ in range(10)]
    async with relaying(settings_for(outbox, broker)):
        for key in keys:
            await outbox.add(key=key, seq=1)
        await until(lambda: all_published(outbox))

        await broker.stop()
        for seq in range(2, 6):
            for key in keys:
                await outbox.add(key=key, seq=seq)
        assert len(await outbox.unpublished()) == 40
        await broker.start()
        await until(lambda: all_published(outbox))
        records = await broker.records(at_least=40)

    # the embedded broker has forgotten what came before
    assert {key: first_occurrences(seqs) for key, seqs in seqs_by_key(records).items()} == {
        key: [2, 3, 4, 5] for key in keys
    }


async def test_a_relay_is_ready_before_there_is_a_broker(outbox: Outbox, broker: Broker) -> None:
    await broker.stop()
    key = new_id()

    async with relaying(settings_for(outbox, broker)):
        await outbox.add(key=key, seq=1)
        await broker.start()
        await until(lambda: all_published(outbox))

    assert seqs_by_key(await broker.records(at_least=1)) == {key: [1]}


async def test_of_two_relays_one_publishes(outbox: Outbox, broker: Broker) -> None:
    keys = [new_id() for _ in range(5)]
    settings = settings_for(outbox, broker)

    async with relaying(settings), relaying(settings):
        for seq in range(1, 21):
            for key in keys:
                await outbox.add(key=key, seq=seq)
        await until(lambda: all_published(outbox))
        records = await broker.records(at_least=100)

    assert seqs_by_key(records) == {key: list(range(1, 21)) for key in keys}


async def test_the_next_relay_goes_on_at_once_when_one_stops(outbox: Outbox, broker: Broker) -> None:
    settings = settings_for(outbox, broker)
    key = new_id()
    async with relaying(settings):
        await outbox.add(key=key, seq=1)
        await until(lambda: all_published(outbox))

    started = asyncio.get_running_loop().time()
    async with relaying(settings):
        await outbox.add(key=key, seq=2)
        await until(lambda: all_published(outbox))

    assert asyncio.get_running_loop().time() - started < LEASE_SECONDS
    assert seqs_by_key(await broker.records(at_least=2)) == {key: [1, 2]}


async def test_a_relay_that_lost_its_lease_cannot_mark_rows(outbox: Outbox) -> None:
    await outbox.add(key=new_id(), seq=1)
    async with (
        await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True) as one,
        await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True) as two,
    ):
        first = RelayedDatabase(one, holder="first")
        second = RelayedDatabase(two, holder="second")
        assert await first.hold()
        assert not await second.hold()
        [row] = await first.read(limit=10, without=())
        await outbox.connection.execute("UPDATE relay_lease SET expires_at = now()")
        assert await second.hold()

        assert not await first.mark_published([row.id])
        assert not first.may_publish
        assert await outbox.unpublished() == [row.ce_id]
        assert await second.mark_published([row.id])
        assert await all_published(outbox)


async def test_marking_and_reading_at_once_leaves_out_what_it_marks_and_the_keys_that_wait(outbox: Outbox) -> None:
    sent, waiting, free = new_id(), new_id(), new_id()
    for key, seq in ((sent, 1), (waiting, 1), (free, 1), (sent, 2)):
        await outbox.add(key=key, seq=seq)
    database = RelayedDatabase(outbox.connection, holder="one")
    assert await database.hold()
    [first, *_] = await database.read(limit=10, without=())

    rows = await database.mark_and_read([first.id], limit=10, without={(ORDER_EVENTS, waiting)})

    assert rows is not None
    assert [row.ce_id for row in rows] == [f"order:{free}:1", f"order:{sent}:2"]
    assert rows[0].at == AT
    assert await outbox.unpublished() == [f"order:{waiting}:1", f"order:{free}:1", f"order:{sent}:2"]
    assert await database.mark_and_read([row.id for row in rows], limit=10, without={(ORDER_EVENTS, waiting)}) == []
    assert database.may_publish


async def test_a_relay_that_lost_its_lease_neither_marks_nor_reads_at_once(outbox: Outbox) -> None:
    for seq in (1, 2):
        await outbox.add(key=new_id(), seq=seq)
    async with (
        await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True) as one,
        await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True) as two,
    ):
        first = RelayedDatabase(one, holder="first")
        second = RelayedDatabase(two, holder="second")
        assert await first.hold()
        [row, _] = await first.read(limit=10, without=())
        await outbox.connection.execute("UPDATE relay_lease SET expires_at = now()")
        assert await second.hold()

        assert await first.mark_and_read([row.id], limit=10, without=()) is None
        assert not first.may_publish
        assert len(await outbox.unpublished()) == 2


async def test_a_takeover_waits_for_a_mark_that_reads_too(outbox: Outbox) -> None:
    await outbox.add(key=new_id(), seq=1)
    async with (
        await psycopg.AsyncConnection.connect(outbox.dsn) as one,
        await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True) as two,
    ):
        first = RelayedDatabase(one, holder="first")
        second = RelayedDatabase(two, holder="second")
        assert await first.hold()
        await one.commit()
        [row] = await first.read(limit=10, without=())
        assert await first.mark_and_read([row.id], limit=10, without=()) == []
        await outbox.connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):  # the statement has not ended yet: its lock is held
            await outbox.connection.execute("UPDATE relay_lease SET expires_at = now()")
        await one.commit()
        await outbox.connection.execute("UPDATE relay_lease SET expires_at = now()")

        assert await second.hold()
        assert await all_published(outbox)


async def test_what_is_acknowledged_is_marked_by_the_statement_that_reads_the_next_rows(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_database, "MARK_SECONDS", 60.0)
    statements: list[str] = []
    for name in ("read", "mark_published", "mark_and_read"):
        monkeypatch.setattr(RelayedDatabase, name, _counted(name, statements))
    sent: asyncio.Queue[None] = asyncio.Queue()
    send = Publisher.send

    async def tell(self: Publisher, batch: BatchBuilder, *, topic: str, partition: int) -> None:
        await send(self, batch, topic=topic, partition=partition)
        sent.put_nowait(None)

    monkeypatch.setattr(Publisher, "send", tell)
    key = new_id()
    async with relaying(settings_for(outbox, broker)):
        for seq in range(1, 6):
            await outbox.add(key=key, seq=seq)
            await sent.get()

    assert await all_published(outbox)
    assert statements.count("mark_published") == 1  # at the stop
    assert seqs_by_key(await broker.records(at_least=5)) == {key: [1, 2, 3, 4, 5]}


def _counted(name: str, statements: list[str]) -> Callable[..., Awaitable[object]]:
    method = getattr(RelayedDatabase, name)

    async def counted(*arguments: object, **options: object) -> object:
        statements.append(name)
        result: object = await method(*arguments, **options)
        return result

    return counted


async def test_a_crash_between_sending_and_marking_repeats_the_event_with_the_same_id(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_id()
    await outbox.add(key=key, seq=1)
    settings = settings_for(outbox, broker)

    async def crash(self: RelayedDatabase, ids: Sequence[int], **_: object) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(RelayedDatabase, "mark_published", crash)
        patch.setattr(RelayedDatabase, "mark_and_read", crash)
        with pytest.raises(ExceptionGroup):
            await relay.run(settings, Lifecycle(asyncio.Event()))
    async with relaying(settings):
        await outbox.add(key=key, seq=2)
        await until(lambda: all_published(outbox))

    records = await broker.records(at_least=3)
    assert [dict(record.headers)["ce_id"].decode() for record in records] == [
        f"order:{key}:1",
        f"order:{key}:1",
        f"order:{key}:2",
    ]


async def test_keys_go_on_while_another_one_fails(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(settings_for(outbox, broker))
    stuck, free = await _keys_of_two_partitions(publisher)
    await publisher.close()
    send = Publisher.send
    failing = asyncio.Event()

    async def refuse_one_partition(self: Publisher, batch: object, *, topic: str, partition: int) -> None:
        if partition == stuck[1] and not failing.is_set():
            raise NotLeaderForPartitionError
        await send(self, batch, topic=topic, partition=partition)

    monkeypatch.setattr(Publisher, "send", refuse_one_partition)
    async with relaying(settings_for(outbox, broker)):
        for seq in range(1, 4):
            await outbox.add(key=stuck[0], seq=seq)
            await outbox.add(key=free[0], seq=seq)
        await until(lambda: _only(outbox, stuck[0]))
        assert len(await outbox.unpublished()) == 3
        failing.set()
        await until(lambda: all_published(outbox))

    assert seqs_by_key(await broker.records(at_least=6)) == {stuck[0]: [1, 2, 3], free[0]: [1, 2, 3]}


async def _only(outbox: Outbox, key: str) -> bool:
    return all(key in ce_id for ce_id in await outbox.unpublished())


async def _keys_of_two_partitions(publisher: Publisher) -> tuple[tuple[str, int], tuple[str, int]]:
    first = new_id()
    partition = await publisher.partition(ORDER_EVENTS, first.encode())
    while True:
        second = new_id()
        other = await publisher.partition(ORDER_EVENTS, second.encode())
        if other != partition:
            return (first, partition), (second, other)
