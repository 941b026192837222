"""When the sender's loops look for something due, and how they end."""

from __future__ import annotations

import asyncio

from services.notification.sender import LOOPS, Sender
from services.notification.service import NotificationService


class NothingDue(NotificationService):
    """Counts who looks."""

    def __init__(self) -> None:
        self.looks = 0

    async def send_next(self) -> bool:
        self.looks += 1
        return False


class Busy(NotificationService):
    """Has one message under way, until it is told to end, or is cancelled."""

    def __init__(self) -> None:
        self.starts = 0
        self.end = asyncio.Event()
        self.outcomes: list[str] = []

    async def send_next(self) -> bool:
        self.starts += 1
        if self.starts > 1:
            return False
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.outcomes.append("given back")
            raise
        self.outcomes.append("sent")
        return True


async def settle() -> None:
    """Let every task get as far as it gets by itself."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_wake_lets_one_loop_look_and_many_let_no_more_look_than_there_are() -> None:
    service = NothingDue()
    sender = Sender(service)
    running = asyncio.create_task(sender.run(asyncio.Event(), grace=0))
    await settle()
    seen = [service.looks]

    for wakes in (1, LOOPS, LOOPS + 7):
        for _ in range(wakes):
            sender.wake()
        await settle()
        seen.append(service.looks - sum(seen))
    running.cancel()
    await asyncio.wait([running])

    assert seen == [LOOPS, 1, LOOPS, LOOPS]


async def test_a_stop_lets_what_is_under_way_end_and_begins_nothing_more() -> None:
    service, stopping = Busy(), asyncio.Event()
    running = asyncio.create_task(Sender(service).run(stopping, grace=60))
    await settle()

    stopping.set()
    await settle()
    still_running = not running.done()
    service.end.set()
    async with asyncio.timeout(5):
        await running

    assert still_running
    assert service.outcomes == ["sent"]
    assert service.starts == LOOPS


async def test_what_is_under_way_after_the_grace_is_given_back() -> None:
    service, stopping = Busy(), asyncio.Event()
    running = asyncio.create_task(Sender(service).run(stopping, grace=0))
    await settle()

    stopping.set()
    async with asyncio.timeout(5):
        await running

    assert service.outcomes == ["given back"]
