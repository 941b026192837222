"""Waiting for something that another process may move, of which nobody is notified."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

Subject = TypeVar("Subject")

_LOOK: Final = 0.1
"""Seconds from one look to the next."""


async def poll_until(
    is_over: Callable[[Subject], bool], read: Callable[[], Awaitable[Subject]], *, wait: float
) -> Subject:
    """The subject once `is_over` says so, or as it is after `wait` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        subject = await read()
        if is_over(subject) or loop.time() >= deadline:
            return subject
        await asyncio.sleep(_LOOK)
