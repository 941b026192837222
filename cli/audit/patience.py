"""Asking again: one answer that gets lost, or a server that starts anew, keeps no audit from its facts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from runtime.backoff import Backoff, Retries
from runtime.refusal import Unavailable

Answer = TypeVar("Answer")

SECONDS: Final = 8.0
"""For which one thing is asked again."""
_BACKOFF: Final = Backoff(first=0.1, longest=0.5)


class Unreadable(Unavailable):
    """A source does not give what the audit asks for, and would not either if it were asked again."""


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer; asked for again while it fails for a cause that may pass.

    Raises:
        Unreadable: it is refused.
        Unavailable: the last cause, when `SECONDS` were over.
    """
    loop = asyncio.get_running_loop()
    until, retries = loop.time() + SECONDS, Retries(_BACKOFF)
    while True:
        try:
            return await ask()
        except Unreadable:
            raise
        except Unavailable:
            delay = retries.failed()
            if loop.time() + delay > until:
                raise
            await asyncio.sleep(delay)
