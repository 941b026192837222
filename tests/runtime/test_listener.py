"""Wake-ups come, or whoever waits for them is woken soon: whatever becomes of the connection they come over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from runtime import listener as listener_module
from runtime.connecting import with_keepalives
from runtime.database import Database
from runtime.listener import Listener
from runtime.wakeups import Wakeups, wait_until
from tests.support.rows import fetch_rows

CHANNEL = "tests"
NAME = "listener under test"


class Room:
    """A listener, what it was woken with, and the database to wake it from."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.payloads: asyncio.Queue[str] = asyncio.Queue()

    def listener(self) -> Listener:
        dsn = make_conninfo(self.database.dsn, application_name=NAME)
        return Listener(dsn, channel=CHANNEL, on_wake=self.payloads.put_nowait)

    async def notify(self, *payloads: str) -> None:
        async with self.database.autocommit() as connection:
            for payload in payloads:
                await connection.execute("SELECT pg_notify(%(channel)s, %(payload)s)", channel=CHANNEL, payload=payload)

    async def next(self) -> str:
        async with asyncio.timeout(20):
            return await self.payloads.get()

    async def is_empty(self) -> bool:
        return await self.backends() == []

    async def backends(self) -> list[int]:
        """The processes of PostgreSQL that listen, or did."""
        rows = await fetch_rows(
            self.database,
            "SELECT pid FROM pg_stat_activity WHERE application_name = %(name)s ORDER BY backend_start",
            name=NAME,
        )
        return [pid for (pid,) in rows]


@pytest_asyncio.fixture
async def room(databases: Mapping[str, str]) -> AsyncIterator[Room]:
    database = Database(databases["order"], pool_size=2)
    room = Room(database)
    yield room
    await until(room.is_empty)
    await database.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - it becomes true in PostgreSQL
            await asyncio.sleep(0.01)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process of PostgreSQL stand still, with its connection open."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(listener_module, "PROBE_TIMEOUT", 0.5)


async def test_each_notification_wakes_with_its_payload_after_a_first_wake_without(room: Room) -> None:
    async with room.listener():
        assert await room.next() == ""
        await room.notify("one", "two", "")

        assert [await room.next() for _ in range(3)] == ["one", "two", ""]


async def test_no_notification_is_lost_or_doubled_while_the_connection_is_probed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "PROBE_INTERVAL", 0.001)
    monkeypatch.setattr(listener_module, "PROBE_TIMEOUT", 20.0)
    sent = [str(number) for number in range(500)]

    async with room.listener():
        assert await room.next() == ""
        await room.notify(*sent)

        assert [await room.next() for _ in sent] == sent


@pytest.mark.usefixtures("quick_probes")
async def test_a_backend_that_stands_still_is_noticed_logged_and_replaced(room: Room) -> None:
    with capture_logs() as logs:
        async with room.listener():
            assert await room.next() == ""
            [pid] = await room.backends()
            with stopped(pid):
                await room.notify("while it stands still")
                assert await room.next() == ""  # whoever waits looks for itself
                assert await room.next() == ""  # it listens again
                await room.notify("afterwards")
                assert await room.next() == "afterwards"

    lost = [entry for entry in logs if entry["event"] == "listener.lost"]
    assert [(entry["channel"], entry["log_level"]) for entry in lost] == [(CHANNEL, "warning")]
    assert "no answer" in lost[0]["error"]


def test_outside_of_tests_that_takes_seconds() -> None:
    assert listener_module.PROBE_INTERVAL + listener_module.PROBE_TIMEOUT <= 5


@pytest.mark.usefixtures("quick_probes")
async def test_a_request_that_waits_gets_its_answer_although_the_backend_stands_still(room: Room) -> None:
    wakeups, moved, listening = Wakeups(), False, asyncio.Event()

    async def read() -> bool:
        return moved

    def wake(payload: str) -> None:
        listening.set()
        wakeups.wake(payload)

    dsn = make_conninfo(room.database.dsn, application_name=NAME)
    async with Listener(dsn, channel=CHANNEL, on_wake=wake):
        await listening.wait()
        [pid] = await room.backends()
        with stopped(pid), wakeups.subscribe("order") as event:
            waiting = asyncio.create_task(wait_until(bool, read, event, wait=1_000, check_first=True))
            await asyncio.sleep(0)
            moved = True
            await room.notify("order")
            async with asyncio.timeout(20):
                assert await waiting


async def test_a_connection_that_ends_is_replaced_and_everybody_woken(room: Room) -> None:
    async with room.listener():
        assert await room.next() == ""
        [pid] = await room.backends()
        await fetch_rows(room.database, "SELECT pg_terminate_backend(%(pid)s)", pid=pid)

        assert [await room.next(), await room.next()] == ["", ""]
        await room.notify("afterwards")
        assert await room.next() == "afterwards"


async def test_a_listener_stops_although_its_backend_stands_still(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "PROBE_INTERVAL", 0.01)
    listener = room.listener()
    task = asyncio.create_task(listener.run())
    assert await room.next() == ""
    [pid] = await room.backends()

    with stopped(pid):
        await asyncio.sleep(0.1)  # most likely it is being probed
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])

    assert task.cancelled()


async def test_every_connection_of_ours_has_keepalives(room: Room) -> None:
    async with room.database.autocommit() as connection:
        inner = connection._connection
        parameters = inner.info.get_parameters()

    assert {name: parameters[name] for name in ("keepalives_idle", "tcp_user_timeout", "connect_timeout")} == {
        "keepalives_idle": "5",
        "tcp_user_timeout": "10000",
        "connect_timeout": "3",
    }


def test_what_a_dsn_says_of_keepalives_stands() -> None:
    dsn = with_keepalives("postgresql://user@host/name?keepalives_idle=60")

    assert psycopg.conninfo.conninfo_to_dict(dsn)["keepalives_idle"] == "60"
