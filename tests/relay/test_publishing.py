"""The outbox relay between a real PostgreSQL and a broker: the embedded one, and Apache Kafka (`make test-real`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from opentelemetry.trace import SpanKind

from domain.events import ORDER_EVENTS
from domain.ids import new_id
from runtime.kafka import BATCH_BYTES, Publisher
from runtime.process import Lifecycle
from tests.support.brokers import Broker
from tests.support.recorded_spans import id_of, parent_of, recording, trace_of
from tests.support.relay_harness import (
    TRACEPARENT,
    Outbox,
    first_occurrences,
    relaying,
    seqs_by_key,
    settings_for,
    wait_until,
)
from workers.relay import state
from workers.relay.database import OutboxDatabase
from workers.relay.process import run
from workers.relay.state import LEASE_SECONDS


async def test_a_row_becomes_a_binary_mode_cloud_event(outbox: Outbox, broker: Broker) -> None:
    key = new_id()

    async with relaying(settings_for(outbox, broker)):
        await outbox.add(key=key, seq=1)
        [record] = await broker.records(at_least=1)
        await wait_until(outbox.all_published)

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


async def test_the_sending_of_a_row_is_a_span_in_its_trace_and_what_consumers_go_on_in(
    outbox: Outbox, broker: Broker
) -> None:
    key = new_id()

    with recording() as spans:
        async with relaying(settings_for(outbox, broker)):
            await outbox.add(key=key, seq=1)
            [record] = await broker.records(at_least=1)
            await wait_until(outbox.all_published)

    sent = spans.named(f"send {ORDER_EVENTS}")
    assert (trace_of(sent), parent_of(sent)) == tuple(TRACEPARENT.split("-")[1:3])
    assert dict(record.headers)["traceparent"].decode().split("-")[1:3] == [trace_of(sent), id_of(sent)]
    assert sent.kind is SpanKind.PRODUCER
    assert sent.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": ORDER_EVENTS,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.message.key": key,
        "messaging.message.id": f"order:{key}:1",
    }


async def test_rows_of_a_key_are_published_in_their_order(outbox: Outbox, broker: Broker) -> None:
    keys = [new_id() for _ in range(20)]

    async with relaying(settings_for(outbox, broker)):
        for seq in range(1, 31):
            for key in keys:
                await outbox.add(key=key, seq=seq)
        await wait_until(outbox.all_published)
        records = await broker.records(at_least=600)

    assert seqs_by_key(records) == {key: list(range(1, 31)) for key in keys}


async def test_what_was_written_while_the_broker_was_away_is_published_in_order_when_it_is_back(
    outbox: Outbox, broker: Broker
) -> None:
    keys = [new_id() for _ in range(10)]
    async with relaying(settings_for(outbox, broker)):
        for key in keys:
            await outbox.add(key=key, seq=1)
        await wait_until(outbox.all_published)

        await broker.stop()
        for seq in range(2, 6):
            for key in keys:
                await outbox.add(key=key, seq=seq)
        assert len(await outbox.unpublished()) == 40
        await broker.start()
        await wait_until(outbox.all_published)
        kept = [1, 2, 3, 4, 5] if broker.keeps else [2, 3, 4, 5]
        records = await broker.records(at_least=len(keys) * len(kept))

    assert {key: first_occurrences(seqs) for key, seqs in seqs_by_key(records).items()} == dict.fromkeys(keys, kept)


async def test_a_relay_is_ready_before_there_is_a_broker(outbox: Outbox, broker: Broker) -> None:
    await broker.stop()
    key = new_id()

    async with relaying(settings_for(outbox, broker)):
        await outbox.add(key=key, seq=1)
        await broker.start()
        await wait_until(outbox.all_published)

    assert seqs_by_key(await broker.records(at_least=1)) == {key: [1]}


async def test_of_two_relays_one_publishes(outbox: Outbox, broker: Broker) -> None:
    keys = [new_id() for _ in range(5)]
    settings = settings_for(outbox, broker)

    async with relaying(settings), relaying(settings):
        for seq in range(1, 21):
            for key in keys:
                await outbox.add(key=key, seq=seq)
        await wait_until(outbox.all_published)
        records = await broker.records(at_least=100)

    assert seqs_by_key(records) == {key: list(range(1, 21)) for key in keys}


async def test_the_next_relay_goes_on_at_once_when_one_stops(outbox: Outbox, broker: Broker) -> None:
    settings = settings_for(outbox, broker)
    key = new_id()
    async with relaying(settings):
        await outbox.add(key=key, seq=1)
        await wait_until(outbox.all_published)

    started = asyncio.get_running_loop().time()
    async with relaying(settings):
        await outbox.add(key=key, seq=2)
        await wait_until(outbox.all_published)

    assert asyncio.get_running_loop().time() - started < LEASE_SECONDS
    assert seqs_by_key(await broker.records(at_least=2)) == {key: [1, 2]}


async def test_what_is_acknowledged_is_marked_by_the_statement_that_reads_the_next_rows(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MARK_SECONDS", 60.0)
    statements: list[str] = []
    for name in ("read", "mark_published", "mark_and_read"):
        monkeypatch.setattr(OutboxDatabase, name, _counted(name, statements))
    sent: asyncio.Queue[None] = asyncio.Queue()
    send = Publisher.send

    async def send_and_count(self: Publisher, batch: BatchBuilder, *, topic: str, partition: int) -> None:
        await send(self, batch, topic=topic, partition=partition)
        sent.put_nowait(None)

    monkeypatch.setattr(Publisher, "send", send_and_count)
    key = new_id()
    async with relaying(settings_for(outbox, broker)):
        for seq in range(1, 6):
            await outbox.add(key=key, seq=seq)
            await sent.get()

    assert await outbox.all_published()
    assert statements.count("mark_published") == 1  # at the stop
    assert seqs_by_key(await broker.records(at_least=5)) == {key: [1, 2, 3, 4, 5]}


def _counted(name: str, statements: list[str]) -> Callable[..., Awaitable[object]]:
    method = getattr(OutboxDatabase, name)

    async def counted(*arguments: object, **options: object) -> object:
        statements.append(name)
        result: object = await method(*arguments, **options)
        return result

    return counted


@pytest.mark.usefixtures("short_lease")
async def test_a_crash_between_sending_and_marking_repeats_the_event_with_the_same_id(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_id()
    await outbox.add(key=key, seq=1)
    settings = settings_for(outbox, broker)

    async def crash(self: OutboxDatabase, ids: Sequence[int], **_: object) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(OutboxDatabase, "mark_published", crash)
        patch.setattr(OutboxDatabase, "mark_and_read", crash)
        with pytest.raises(ExceptionGroup):
            await run(settings, Lifecycle(asyncio.Event()))
    async with relaying(settings):
        await outbox.add(key=key, seq=2)
        await wait_until(outbox.all_published)

    ids = [dict(record.headers)["ce_id"].decode() for record in await broker.records(at_least=3)]
    assert ids[:2] == [f"order:{key}:1"] * 2
    assert first_occurrences(ids) == [f"order:{key}:1", f"order:{key}:2"]


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
        await wait_until(lambda: _only(outbox, stuck[0]))
        assert len(await outbox.unpublished()) == 3
        failing.set()
        await wait_until(outbox.all_published)

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


async def test_a_small_row_does_not_overtake_a_large_one_of_its_key_that_needs_another_batch(
    outbox: Outbox, broker: Broker
) -> None:
    key = new_id()
    for seq in range(1, 7):
        await outbox.add(key=key, seq=seq, data="x" * (1 if seq % 3 == 0 else BATCH_BYTES * 2 // 3))

    async with relaying(settings_for(outbox, broker)):
        await wait_until(outbox.all_published)

    assert seqs_by_key(await broker.records(at_least=6)) == {key: [1, 2, 3, 4, 5, 6]}


@pytest.mark.parametrize("slow", ["hold", "read"])
async def test_what_postgresql_answered_too_slowly_for_the_lease_is_not_sent(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch, short_lease: float, slow: str
) -> None:
    events: list[str] = []

    def noted(kind: type, name: str) -> None:
        method = getattr(kind, name)

        async def call(*arguments: object, **options: object) -> object:
            if name == "send":  # when it begins, for the lease is renewed until the broker has answered
                events.append(name)
            result: object = await method(*arguments, **options)
            if name == slow and slow not in events:
                await asyncio.sleep(short_lease)
            if name != "send":
                events.append(name)
            return result

        monkeypatch.setattr(kind, name, call)

    noted(OutboxDatabase, "hold")
    noted(OutboxDatabase, "read")
    noted(Publisher, "send")
    await outbox.add(key=new_id(), seq=1)

    async with relaying(settings_for(outbox, broker)):
        await wait_until(outbox.all_published)

    after = events[events.index(slow) + 1 :]
    assert after.index("hold") < after.index("send")


async def test_what_was_sent_under_an_earlier_lease_is_published_again_before_it_is_marked(
    outbox: Outbox, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_id()
    send, held = Publisher.send, OutboxDatabase.hold
    acknowledge, epochs = asyncio.Event(), list[int | None]()

    async def send_and_wait(self: Publisher, batch: BatchBuilder, *, topic: str, partition: int) -> None:
        await send(self, batch, topic=topic, partition=partition)
        await acknowledge.wait()

    async def hold_and_note(self: OutboxDatabase, *, epoch: int | None) -> int | None:
        epochs.append(await held(self, epoch=epoch))
        return epochs[-1]

    async def has_lease_anew() -> bool:
        return len(set(epochs)) == 2

    monkeypatch.setattr(Publisher, "send", send_and_wait)
    monkeypatch.setattr(OutboxDatabase, "hold", hold_and_note)
    async with relaying(settings_for(outbox, broker)):
        await outbox.add(key=key, seq=1)
        await broker.records(at_least=1)
        await outbox.end_lease()
        await wait_until(has_lease_anew)
        acknowledge.set()
        await wait_until(outbox.all_published)

    assert seqs_by_key(await broker.records(at_least=2)) == {key: [1, 1]}
