"""Running a workflow's process where no cancellation reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def run_shielded(process: Coroutine[Any, Any, Result], *, on_cancel: Callable[[], None]) -> tuple[Result, bool]:
    """Run a process to its end in a task of its own; each request to cancel the workflow only calls `on_cancel`.

    Returns:
        What came of the process, and whether there was such a request.
    """
    task = asyncio.create_task(process)
    was_cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            was_cancelled = True
            on_cancel()
            if (current := asyncio.current_task()) is not None:
                current.uncancel()
    return task.result(), was_cancelled
