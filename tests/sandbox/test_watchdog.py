"""How a process of ours is kept running, with stand-ins that die on purpose."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from runtime.backoff import Backoff
from sandbox import watchdog
from sandbox.child import Command, is_alive
from sandbox.errors import ChildDiedError
from sandbox.watchdog import MAX_FAILED_STARTS, Died, Failure, ReadyAgain, Update, Watchdog

READY = """
    import os, pathlib, signal, socket, sys
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
"""
STAYS = READY + "    signal.pause()\n"
DIES = READY + "    sys.exit(3)\n"
READY_ONLY_ONCE = """
    import pathlib, sys
    if pathlib.Path("began").exists():
        print("no more today")
        sys.exit(7)
    pathlib.Path("began").touch()
""" + textwrap.indent(textwrap.dedent(STAYS), "    ")


class Harness:
    """A watchdog, its updates, and its failure."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.updates: asyncio.Queue[Update] = asyncio.Queue()
        self.failures: asyncio.Queue[Failure] = asyncio.Queue()
        self.watchdog: Watchdog | None = None

    async def start(self, code: str, *, restart: bool = True) -> Watchdog:
        command = Command(
            name="shop",
            arguments=[sys.executable, "-c", textwrap.dedent(code)],
            log=self._folder / "shop.log",
            environment=os.environ,
            folder=self._folder,
        )
        self.watchdog = Watchdog(
            command,
            notify_socket=self._folder / "notify",
            restart=restart,
            on_update=self.updates.put_nowait,
            on_failure=self.failures.put_nowait,
        )
        await self.watchdog.start([])
        return self.watchdog

    async def next_updates(self, count: int) -> list[Update]:
        return [await asyncio.wait_for(self.updates.get(), 30) for _ in range(count)]


@pytest_asyncio.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    if harness.watchdog is not None:
        await harness.watchdog.stop()


ShortDelays = Callable[[float], None]


@pytest.fixture
def short_delays(monkeypatch: pytest.MonkeyPatch) -> ShortDelays:
    def shorten(healthy_seconds: float) -> None:
        monkeypatch.setattr(watchdog, "BACKOFF", Backoff(first=0.01, longest=0.03))
        monkeypatch.setattr(watchdog, "HEALTHY_SECONDS", healthy_seconds)

    return shorten


async def test_a_process_that_is_killed_is_replaced_and_named(harness: Harness, short_delays: ShortDelays) -> None:
    short_delays(30)
    supervised = await harness.start(STAYS)
    first = supervised.pid

    os.kill(first, signal.SIGKILL)
    died, back = await harness.next_updates(2)

    assert died == Died(name="shop", how="was ended by SIGKILL", attempt=1, delay=0.01)
    assert str(died) == "shop was ended by SIGKILL; starting it again in 0.01 s (attempt 1)."
    assert back == ReadyAgain(name="shop", pid=supervised.pid)
    assert supervised.pid != first
    assert is_alive(supervised.pid)


async def test_delays_double_up_to_the_longest_one(harness: Harness, short_delays: ShortDelays) -> None:
    short_delays(30)
    await harness.start(DIES)

    updates = await harness.next_updates(8)

    deaths = [update for update in updates if isinstance(update, Died)]
    assert [(death.how, death.attempt, death.delay) for death in deaths] == [
        ("ended with exit code 3", attempt, delay) for attempt, delay in enumerate((0.01, 0.02, 0.03, 0.03), start=1)
    ]


async def test_a_process_that_was_healthy_for_a_while_dies_as_if_for_the_first_time(
    harness: Harness, short_delays: ShortDelays
) -> None:
    short_delays(0)
    await harness.start(DIES)

    updates = await harness.next_updates(6)

    assert [(update.attempt, update.delay) for update in updates if isinstance(update, Died)] == [(1, 0.01)] * 3


async def test_a_process_that_does_not_become_ready_any_more_is_given_up_with_the_end_of_its_log(
    harness: Harness, short_delays: ShortDelays
) -> None:
    short_delays(30)
    supervised = await harness.start(READY_ONLY_ONCE)

    os.kill(supervised.pid, signal.SIGKILL)
    failure = await asyncio.wait_for(harness.failures.get(), 30)

    assert isinstance(failure, ChildDiedError)
    assert (failure.name, failure.code, failure.tail[-1]) == ("shop", 7, "no more today")
    assert harness.updates.qsize() == MAX_FAILED_STARTS


async def test_without_restart_the_first_death_is_the_end(harness: Harness) -> None:
    supervised = await harness.start(STAYS, restart=False)

    os.kill(supervised.pid, signal.SIGKILL)
    failure = await asyncio.wait_for(harness.failures.get(), 30)

    assert failure.how == "was ended by SIGKILL"
    assert harness.updates.empty()


async def test_a_process_that_is_stopped_stays_so(harness: Harness, short_delays: ShortDelays) -> None:
    short_delays(30)
    supervised = await harness.start(STAYS)

    await supervised.stop()

    assert not is_alive(supervised.pid)
    assert harness.updates.empty()
    assert harness.failures.empty()
