"""When the sender's loops look for something due."""

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


async def settle() -> None:
    """Let every task get as far as it gets by itself."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_wake_lets_one_loop_look_and_many_let_no_more_look_than_there_are() -> None:
    service = NothingDue()
    sender = Sender(service)
    running = asyncio.create_task(sender.run())
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
