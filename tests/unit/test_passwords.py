"""Passwords are hashed safely, a few at once, in the order of asking, and only for callers that still wait."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from structlog.testing import capture_logs

from runtime.deadline import set_caller_gone, set_time_left
from runtime.refusal import Unavailable
from runtime.settings import Settings
from services.user import passwords as passwords_module
from services.user.passwords import NICENESS, PARALLEL_HASHES, Passwords

CHEAP = 32
MOST_WAITING = 8


class Hashing:
    """Stands where argon2 computes: each hash lasts until the test lets it end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(passwords_module, "MOST_WAITING", MOST_WAITING)
        self.passwords = Passwords(memory_kib=CHEAP)
        self.begun: list[str] = []
        self._ends = threading.Semaphore(0)
        monkeypatch.setattr(PasswordHasher, "hash", self._hash)

    def _hash(self, password: str) -> str:
        self.begun.append(password)
        self._ends.acquire()
        return f"hash of {password}"

    def end(self, count: int) -> None:
        self._ends.release(count)

    async def has_begun(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.begun) < count:  # noqa: ASYNC110 - what is waited for happens in another thread
                await asyncio.sleep(0.001)


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hashing]:
    hashing = Hashing(monkeypatch)
    yield hashing
    hashing.end(1_000)  # no thread is to wait for ever, whatever became of the test


async def test_without_a_setting_hashes_are_as_rfc_9106_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORDERSAGA_PASSWORD_HASH_MEMORY", raising=False)
    with capture_logs() as logs:
        passwords = Passwords(memory_kib=Settings().password_hash_memory)

    assert extract_parameters(await passwords.hash("correct horse")) == RFC_9106_LOW_MEMORY
    assert logs == []


async def test_cheaper_hashes_than_that_are_warned_of() -> None:
    with capture_logs() as logs:
        Passwords(memory_kib=CHEAP)

    assert [entry["event"] for entry in logs] == ["passwords.unsafe"]


async def test_few_are_computed_at_once_and_the_rest_in_the_order_of_asking(hashing: Hashing) -> None:
    asked = [str(number) for number in range(10)]
    tasks = [asyncio.create_task(hashing.passwords.hash(password)) for password in asked]

    for count in range(PARALLEL_HASHES, len(asked)):
        await hashing.has_begun(count)
        assert sorted(hashing.begun) == asked[:count]
        hashing.end(1)
    hashing.end(PARALLEL_HASHES)

    assert await asyncio.gather(*tasks) == [f"hash of {password}" for password in asked]


async def test_a_caller_whose_deadline_comes_first_is_answered_before_it(hashing: Hashing) -> None:
    async def ask(password: str, *, seconds: float | None) -> str:
        set_time_left(seconds)
        return await hashing.passwords.hash(password)

    first = [asyncio.create_task(ask(str(number), seconds=None)) for number in range(PARALLEL_HASHES)]
    await hashing.has_begun(PARALLEL_HASHES)
    with pytest.raises(Unavailable, match="too many callers"):
        await asyncio.create_task(ask("late", seconds=0.3))
    hashing.end(PARALLEL_HASHES)
    await asyncio.gather(*first)

    assert "late" not in hashing.begun


async def test_nothing_is_computed_for_a_caller_that_has_gone(hashing: Hashing) -> None:
    waiting, gone = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        set_time_left(60)
        task = asyncio.create_task(hashing.passwords.hash("gone"))
        waiting.set()
        await gone.wait()
        set_caller_gone()
        await task

    first = [asyncio.create_task(hashing.passwords.hash(str(number))) for number in range(PARALLEL_HASHES)]
    await hashing.has_begun(PARALLEL_HASHES)
    call_task = asyncio.create_task(call())
    await waiting.wait()
    last = asyncio.create_task(hashing.passwords.hash("last"))
    gone.set()
    await asyncio.sleep(0)
    hashing.end(PARALLEL_HASHES + 1)

    with pytest.raises(Unavailable, match="gone"):
        await call_task
    await asyncio.gather(*first, last)
    assert sorted(hashing.begun) == [*map(str, range(PARALLEL_HASHES)), "last"]


async def test_who_comes_when_too_many_wait_is_answered_at_once(hashing: Hashing) -> None:
    asked = [str(number) for number in range(PARALLEL_HASHES + MOST_WAITING)]
    tasks = [asyncio.create_task(hashing.passwords.hash(password)) for password in asked]
    await hashing.has_begun(PARALLEL_HASHES)

    with pytest.raises(Unavailable, match="too many callers"):
        await asyncio.wait_for(hashing.passwords.hash("one too many"), 20)
    hashing.end(len(asked))

    await asyncio.gather(*tasks)
    assert "one too many" not in hashing.begun


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
async def test_hashes_leave_the_machine_to_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(memory_kib=CHEAP)

    def nice(*_: str) -> str:
        return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    monkeypatch.setattr(PasswordHasher, "hash", nice)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    hashed = await asyncio.gather(*(passwords.hash("correct horse") for _ in range(2 * PARALLEL_HASHES)))

    assert set(hashed) == {str(max(before, NICENESS))}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
