"""Waiting for an order or a refund to move."""

from __future__ import annotations

import asyncio

from runtime.wakeups import Wakeups, wait_until


def test_only_those_who_wait_for_it_are_woken() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("a") as first, wakeups.subscribe("a") as second, wakeups.subscribe("b") as other:
        wakeups.wake("a")

        assert (first.is_set(), second.is_set(), other.is_set()) == (True, True, False)


def test_everybody_is_woken_when_notifications_may_have_been_missed() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("a") as first, wakeups.subscribe("b") as second:
        wakeups.wake("")

        assert (first.is_set(), second.is_set()) == (True, True)


def test_who_has_ceased_to_wait_is_forgotten() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("a") as ended:
        pass

    wakeups.wake("a")
    wakeups.wake("")

    assert not ended.is_set()


class Subject:
    """Something that is over after so many reads."""

    def __init__(self, *, over_at: int) -> None:
        self._over_at = over_at
        self.reads = 0

    async def read(self) -> int:
        self.reads += 1
        return self.reads

    def is_over(self, read: int) -> bool:
        return read >= self._over_at


async def test_a_wake_up_is_a_reason_to_read_and_the_wait_goes_on_until_it_is_over() -> None:
    subject, moved = Subject(over_at=3), asyncio.Event()

    async def read() -> int:
        moved.set()
        return await subject.read()

    moved.set()
    assert await wait_until(subject.is_over, read, moved, wait=60, check_first=False) == 3


async def test_what_may_be_over_already_is_read_before_anybody_is_woken() -> None:
    subject = Subject(over_at=1)

    assert await wait_until(subject.is_over, subject.read, asyncio.Event(), wait=60, check_first=True) == 1


async def test_after_a_wait_without_a_wake_up_it_is_read_as_it_stands() -> None:
    subject = Subject(over_at=9)

    assert await wait_until(subject.is_over, subject.read, asyncio.Event(), wait=0.01, check_first=False) == 1
