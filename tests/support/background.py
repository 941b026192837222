"""Running in a test what a process runs in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(*background: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Runs each of them inside; at the end they are cancelled, and have ended what they were at.

    What one of them raises, is raised.
    """
    tasks = [asyncio.ensure_future(work()) for work in background]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
