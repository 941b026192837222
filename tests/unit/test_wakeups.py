"""Waiting for something to move."""

from __future__ import annotations

import asyncio

from runtime.wakeups import Wakeups, wait_until


async def test_only_those_are_woken_who_wait_for_the_one_that_moved() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("order") as order, wakeups.subscribe("another") as another:
        wakeups.wake("order")

        assert order.is_set()
        assert not another.is_set()


async def test_everybody_is_woken_when_notifications_may_have_been_missed() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("order") as order, wakeups.subscribe("another") as another:
        wakeups.wake("")

        assert order.is_set()
        assert another.is_set()


async def test_who_waits_no_longer_is_forgotten() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe("order") as order:
        pass
    wakeups.wake("order")
    wakeups.wake("")

    assert not order.is_set()


async def test_the_wait_ends_with_the_move_that_ends_it_and_not_with_one_before() -> None:
    wakeups, states = Wakeups(), ["RECEIVED", "RECEIVED", "PENDING"]

    async def read() -> str:
        return states.pop(0)

    with wakeups.subscribe("order") as moved:
        waiting = asyncio.create_task(
            wait_until(lambda state: state == "PENDING", read, moved, wait=60, check_first=True)
        )
        while states:
            await asyncio.sleep(0)
            wakeups.wake("order")

        assert await waiting == "PENDING"


async def test_the_wait_ends_with_its_time_and_what_is_read_then() -> None:
    async def read() -> str:
        return "RECEIVED"

    assert await wait_until(lambda _: False, read, asyncio.Event(), wait=0, check_first=False) == "RECEIVED"
