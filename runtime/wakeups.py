"""Waiting for something to move, woken by NOTIFY."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

Subject = TypeVar("Subject")


class Wakeups:
    """Wakes whoever waits for an order or a refund. A wake-up is a hint: the waiter reads it again."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def subscribe(self, *subject_ids: str) -> Iterator[asyncio.Event]:
        """An event that is set when one of them moves; subscribe before the read that decides to wait."""
        event = asyncio.Event()
        for subject_id in subject_ids:
            self._waiting[subject_id].add(event)
        try:
            yield event
        finally:
            for subject_id in subject_ids:
                self._waiting[subject_id].discard(event)
                if not self._waiting[subject_id]:
                    del self._waiting[subject_id]

    @property
    def waiting(self) -> int:
        """How many subjects somebody waits for."""
        return len(self._waiting)

    def wake(self, subject_id: str) -> None:
        """Wake who waits for this one; without an id, everybody, because notifications may have been missed."""
        if subject_id:
            woken = list(self._waiting.get(subject_id, ()))
        else:
            woken = [event for events in self._waiting.values() for event in events]
        for event in woken:
            event.set()


async def wait_until(
    is_over: Callable[[Subject], bool],
    read: Callable[[], Awaitable[Subject]],
    moved: asyncio.Event,
    *,
    wait: float,
    check_first: bool,
) -> Subject:
    """The subject once `is_over` says so, or as it is after `wait` seconds.

    Args:
        is_over: whether the wait has an end.
        read: reads the subject as it stands.
        moved: set whenever the subject may have moved, from before the wait on.
        wait: seconds.
        check_first: whether it may be there already; else the look before the first wake-up is spared.
    """
    deadline = asyncio.get_running_loop().time() + wait
    if not check_first:
        await _wait_for_move(deadline, moved)
    while True:
        moved.clear()
        subject = await read()
        if is_over(subject) or asyncio.get_running_loop().time() >= deadline:
            return subject
        await _wait_for_move(deadline, moved)


async def _wait_for_move(deadline: float, moved: asyncio.Event) -> None:
    """Until it is set, or in vain: the wake-up may have been lost."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await moved.wait()
