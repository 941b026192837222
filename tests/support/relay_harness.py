"""The relay between a real PostgreSQL and the embedded broker: an outbox to fill, a broker to take away, a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import psycopg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from psycopg import sql
from pydantic import SecretStr

from domain.events import ORDER_EVENTS, PARTITIONS
from domain.ids import new_id
from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.kafka import Kafka
from sandbox.ports import address, free_port
from workers.relay.process import run

AT: Final = datetime(2026, 11, 22, 10, 30, 0, 125000, tzinfo=UTC)
TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Event = TypeVar("Event", int, str)
Connection = psycopg.AsyncConnection[tuple[object, ...]]


class Outbox:
    """An outbox and its lease, in a schema of their own."""

    def __init__(self, dsn: str, connection: Connection) -> None:
        self.dsn = dsn
        self.connection = connection

    async def add(self, *, key: str, seq: int, data: str | None = None) -> None:
        """Add an event of a key, and notify."""
        await self.connection.execute(
            "INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                ORDER_EVENTS,
                key,
                f"order:{key}:{seq}",
                "order.received",
                seq,
                data or f'{{"seq": {seq}}}',
                TRACEPARENT,
                AT,
            ),
        )
        await self.connection.execute("NOTIFY outbox")

    async def unpublished(self) -> list[str]:
        """The `ce_id` of every row without a mark."""
        cursor = await self.connection.execute("SELECT ce_id FROM outbox WHERE published_at IS NULL ORDER BY id")
        return [str(ce_id) for (ce_id,) in await cursor.fetchall()]

    async def all_published(self) -> bool:
        """Whether every row has its mark."""
        return not await self.unpublished()

    async def end_lease(self) -> None:
        """Let whoever holds the lease lose it, by PostgreSQL's clock."""
        await self.connection.execute("UPDATE relay_lease SET expires_at = now()")


@asynccontextmanager
async def outbox_in(dsn: str) -> AsyncIterator[Outbox]:
    """An empty outbox in this database."""
    schema = f"relay_{new_id().replace('-', '')}"
    dsn = f"{dsn}?options=-csearch_path%3D{schema}"
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        await connection.execute("CREATE TABLE outbox (LIKE public.outbox INCLUDING ALL)")
        await connection.execute("CREATE TABLE relay_lease (LIKE public.relay_lease INCLUDING ALL)")
        yield Outbox(dsn, connection)
        await connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


class Broker:
    """The embedded broker, which can be taken away and brought back (empty) on the same port."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._kafka = Kafka(port=self.port, log=log)

    async def start(self) -> None:
        """Start it."""
        await self._kafka.start()

    async def stop(self) -> None:
        """Take it away."""
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


def settings_for(outbox: Outbox, broker: Broker) -> Settings:
    """The settings of a relay between the two."""
    return Settings(
        kafka_bootstrap=address(broker.port),
        kafka_idempotence=False,
        relay_dsns={"inventory": SecretStr(outbox.dsn)},
        shutdown_grace=1,
    )


@asynccontextmanager
async def relaying(settings: Settings) -> AsyncIterator[None]:
    """A relay that is ready, and is stopped in order at the end."""
    stopping = asyncio.Event()
    lifecycle = Lifecycle(stopping)
    task = asyncio.create_task(run(settings, lifecycle))
    try:
        async with asyncio.timeout(10):
            await lifecycle.started.wait()
        yield
    finally:
        stopping.set()
        await task


async def wait_until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once it holds, within 30 s."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0.02)


def seqs_by_key(records: Sequence[ConsumerRecord]) -> dict[str, list[int]]:
    """The sequence numbers of each key's events, in their order in the topic."""
    seqs: dict[str, list[int]] = {}
    for record in records:
        headers = dict(record.headers)
        seqs.setdefault(record.key.decode(), []).append(int(headers["ce_seq"]))
    return seqs


def first_occurrences(published: Sequence[Event]) -> list[Event]:
    """Without repeats."""
    return list(dict.fromkeys(published))
