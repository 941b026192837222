"""What is repeated goes on, whatever becomes of it once."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from runtime.periodic import repeat
from runtime.refusal import Unavailable


class Work:
    """Does what the test says, time after time, and then nothing more."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []
        self.is_over = asyncio.Event()

    async def __call__(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        if not self.outcomes:
            self.is_over.set()
            return
        if (outcome := self.outcomes.pop(0)) is not None:
            raise outcome


async def until_over(work: Work, *, interval: float) -> None:
    task = asyncio.create_task(repeat(work, interval=interval, name="sweep"))
    async with asyncio.timeout(10):
        await work.is_over.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_is_done_at_once() -> None:
    await until_over(Work(), interval=1_000)


async def test_work_is_done_again_after_each_interval() -> None:
    work = Work(None, None)

    await until_over(work, interval=0.05)

    assert [later - earlier >= 0.049 for earlier, later in zip(work.times, work.times[1:], strict=False)] == [True] * 2


async def test_neither_trouble_that_passes_nor_a_defect_ends_the_loop_and_both_are_logged() -> None:
    work = Work(Unavailable("no answer"), KeyError("a defect"))

    with capture_logs() as logs:
        await until_over(work, interval=0)

    assert [(entry["event"], entry["log_level"], entry["work"]) for entry in logs] == [
        ("periodic.postponed", "warning", "sweep"),
        ("periodic.failed", "error", "sweep"),
    ]


async def test_a_cancellation_reaches_the_work_and_ends_the_loop() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(repeat(work, interval=0, name="sweep"))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
