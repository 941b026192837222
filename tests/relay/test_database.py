"""The relay's statements on a real PostgreSQL: the lease, and marking and reading under it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from domain.events import ORDER_EVENTS
from domain.ids import new_id
from tests.support.relay_harness import AT, Outbox
from workers.relay.database import OutboxDatabase


@asynccontextmanager
async def two_relays(outbox: Outbox) -> AsyncIterator[tuple[OutboxDatabase, OutboxDatabase]]:
    """The outbox as two relays see it, each over a connection of its own."""
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True))
            for _ in range(2)
        ]
        yield OutboxDatabase(connections[0], holder="first"), OutboxDatabase(connections[1], holder="second")


async def hold(database: OutboxDatabase) -> int:
    """Take the lease, which is free."""
    epoch = await database.hold(epoch=None)
    assert epoch is not None
    return epoch


async def test_a_lease_has_one_holder_until_it_is_released(outbox: Outbox) -> None:
    async with two_relays(outbox) as (first, second):
        epoch = await hold(first)
        assert await second.hold(epoch=None) is None
        await first.release(epoch=epoch)

        assert await second.hold(epoch=None) == epoch + 1
        assert await first.hold(epoch=epoch) is None


async def test_a_renewed_lease_keeps_its_epoch_and_one_taken_anew_gets_another(outbox: Outbox) -> None:
    database = OutboxDatabase(outbox.connection, holder="one")
    epoch = await hold(database)

    assert await database.hold(epoch=epoch) == epoch
    await outbox.end_lease()
    assert await database.hold(epoch=epoch) == epoch + 1
    assert await database.hold(epoch=None) == epoch + 2  # after a reconnection


async def test_a_relay_that_lost_its_lease_cannot_mark_rows(outbox: Outbox) -> None:
    await outbox.add(key=new_id(), seq=1)
    async with two_relays(outbox) as (first, second):
        lost = await hold(first)
        [row] = await first.read(limit=10, without=())
        await outbox.end_lease()
        held = await hold(second)

        assert not await first.mark_published([row.id], epoch=lost)
        assert await outbox.unpublished() == [row.ce_id]
        assert await second.mark_published([row.id], epoch=held)
        assert await outbox.all_published()


async def test_marking_and_reading_at_once_leaves_out_what_it_marks_and_the_keys_that_wait(outbox: Outbox) -> None:
    sent, waiting, free = new_id(), new_id(), new_id()
    for key, seq in ((sent, 1), (waiting, 1), (free, 1), (sent, 2)):
        await outbox.add(key=key, seq=seq)
    database = OutboxDatabase(outbox.connection, holder="one")
    epoch = await hold(database)
    [first, *_] = await database.read(limit=10, without=())
    without = {(ORDER_EVENTS, waiting)}

    rows = await database.mark_and_read([first.id], epoch=epoch, limit=10, without=without)

    assert rows is not None
    assert [row.ce_id for row in rows] == [f"order:{free}:1", f"order:{sent}:2"]
    assert rows[0].at == AT
    assert await outbox.unpublished() == [f"order:{waiting}:1", f"order:{free}:1", f"order:{sent}:2"]
    assert await database.mark_and_read([row.id for row in rows], epoch=epoch, limit=10, without=without) == []


async def test_a_relay_that_lost_its_lease_neither_marks_nor_reads_at_once(outbox: Outbox) -> None:
    for seq in (1, 2):
        await outbox.add(key=new_id(), seq=seq)
    async with two_relays(outbox) as (first, second):
        lost = await hold(first)
        [row, _] = await first.read(limit=10, without=())
        await outbox.end_lease()
        await hold(second)

        assert await first.mark_and_read([row.id], epoch=lost, limit=10, without=()) is None
        assert len(await outbox.unpublished()) == 2


async def test_a_takeover_waits_for_a_mark_that_reads_too(outbox: Outbox) -> None:
    await outbox.add(key=new_id(), seq=1)
    async with (
        await psycopg.AsyncConnection.connect(outbox.dsn) as one,
        await psycopg.AsyncConnection.connect(outbox.dsn, autocommit=True) as two,
    ):
        first = OutboxDatabase(one, holder="first")
        second = OutboxDatabase(two, holder="second")
        epoch = await hold(first)
        await one.commit()
        [row] = await first.read(limit=10, without=())
        assert await first.mark_and_read([row.id], epoch=epoch, limit=10, without=()) == []
        await outbox.connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):  # the statement has not ended yet: its lock is held
            await outbox.end_lease()
        await one.commit()
        await outbox.end_lease()

        await hold(second)
        assert await outbox.all_published()
