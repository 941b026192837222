"""How a process of ours is kept alive, with stand-ins that die on purpose."""

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

from sandbox import watchdog
from sandbox.child import Command, is_alive
from sandbox.errors import ChildDiedError
from sandbox.watchdog import MOST_FAILED_STARTS, Died, Failure, ReadyAgain, Update, Watchdog

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


class Rig:
    """A watchdog, what it said, and how it ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.news: asyncio.Queue[Update] = asyncio.Queue()
        self.failures: asyncio.Queue[Failure] = asyncio.Queue()
        self.watchdog: Watchdog | None = None

    async def start(self, code: str, *, restart: bool = True) -> Watchdog:
        command = Command(
            name="part",
            arguments=[sys.executable, "-c", textwrap.dedent(code)],
            log=self._folder / "part.log",
            environment=os.environ,
            folder=self._folder,
        )
        self.watchdog = Watchdog(
            command,
            notify_socket=self._folder / "notify",
            restart=restart,
            on_update=self.news.put_nowait,
            on_failure=self.failures.put_nowait,
        )
        await self.watchdog.start([])
        return self.watchdog

    async def told(self, count: int) -> list[Update]:
        return [await asyncio.wait_for(self.news.get(), 30) for _ in range(count)]


@pytest_asyncio.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Rig]:
    harness = Rig(tmp_path)
    yield harness
    if harness.watchdog is not None:
        await harness.watchdog.stop()


Pauses = Callable[[float], None]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    def shorten(healthy_seconds: float) -> None:
        monkeypatch.setattr(watchdog, "FIRST_PAUSE", 0.01)
        monkeypatch.setattr(watchdog, "LONGEST_PAUSE", 0.03)
        monkeypatch.setattr(watchdog, "HEALTHY_SECONDS", healthy_seconds)

    return shorten


async def test_a_process_that_is_killed_is_replaced_and_named(harness: Rig, pauses: Pauses) -> None:
    pauses(30)
    kept = await harness.start(STAYS)
    first = kept.pid

    os.kill(first, signal.SIGKILL)
    died, back = await harness.told(2)

    assert died == Died(name="part", how="was ended by SIGKILL", attempt=1, pause=0.01)
    assert str(died) == "part was ended by SIGKILL; starting it again in 0.01 s (attempt 1)."
    assert back == ReadyAgain(name="part", pid=kept.pid)
    assert kept.pid != first
    assert is_alive(kept.pid)


async def test_pauses_double_up_to_the_longest_while_it_keeps_dying(harness: Rig, pauses: Pauses) -> None:
    pauses(30)
    await harness.start(DIES)

    told = await harness.told(8)

    deaths = [news for news in told if isinstance(news, Died)]
    assert [(death.how, death.attempt, death.pause) for death in deaths] == [
        ("ended with exit code 3", attempt, pause) for attempt, pause in enumerate((0.01, 0.02, 0.03, 0.03), start=1)
    ]


async def test_a_process_that_was_healthy_for_a_while_dies_as_if_for_the_first_time(
    harness: Rig, pauses: Pauses
) -> None:
    pauses(0)
    await harness.start(DIES)

    told = await harness.told(6)

    assert [(news.attempt, news.pause) for news in told if isinstance(news, Died)] == [(1, 0.01)] * 3


async def test_a_process_that_does_not_get_ready_any_more_is_given_up_with_its_last_words(
    harness: Rig, pauses: Pauses
) -> None:
    pauses(30)
    kept = await harness.start(READY_ONLY_ONCE)

    os.kill(kept.pid, signal.SIGKILL)
    failure = await asyncio.wait_for(harness.failures.get(), 30)

    assert isinstance(failure, ChildDiedError)
    assert (failure.name, failure.code, failure.tail[-1]) == ("part", 7, "no more today")
    assert harness.news.qsize() == MOST_FAILED_STARTS


async def test_without_restart_the_first_death_is_the_end(harness: Rig) -> None:
    kept = await harness.start(STAYS, restart=False)

    os.kill(kept.pid, signal.SIGKILL)
    failure = await asyncio.wait_for(harness.failures.get(), 30)

    assert failure.how == "was ended by SIGKILL"
    assert harness.news.empty()


async def test_a_process_that_is_stopped_stays_so(harness: Rig, pauses: Pauses) -> None:
    pauses(30)
    kept = await harness.start(STAYS)

    await kept.stop()

    assert not is_alive(kept.pid)
    assert harness.news.empty()
    assert harness.failures.empty()
