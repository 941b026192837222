"""The relay between a real PostgreSQL and a broker: an outbox to fill, and a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, TypeVar

import psycopg
from aiokafka import ConsumerRecord
from psycopg import sql
from pydantic import SecretStr

from domain.events import ORDER_EVENTS
from domain.ids import new_id
from runtime.process import Lifecycle
from runtime.settings import Settings
from tests.support.brokers import Broker
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


def settings_for(outbox: Outbox, broker: Broker) -> Settings:
    """The settings of a relay between the two."""
    return Settings(
        **broker.settings,
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
