"""Something that is done again and again, whatever becomes of it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import structlog

from runtime.refusal import Unavailable

log = structlog.stdlib.get_logger(__name__)


async def repeat(work: Callable[[], Awaitable[object]], *, interval: float, name: str) -> NoReturn:
    """Do `work` at once and every `interval` seconds after it has ended, until cancelled.

    What it raises is logged under `name`; it never ends the loop. `Unavailable` is trouble that passes, anything else a
    defect.
    """
    while True:
        try:
            await work()
        except Unavailable as problem:
            log.warning("periodic.postponed", work=name, problem=str(problem))
        except Exception:  # the border of a loop that must go on
            log.exception("periodic.failed", work=name)
        await asyncio.sleep(interval)


@asynccontextmanager
async def beside(work: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Let `work`, which runs until it is cancelled, run as long as the context is open."""
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
