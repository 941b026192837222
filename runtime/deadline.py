"""How long the caller of the call that is being served still waits: past that, work for it is in vain.

What was begun is finished all the same, because half of it may be done. What was not begun is not begun any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from runtime.refusal import Unavailable

Result = TypeVar("Result")

MARGIN: Final = 0.25
"""Seconds before the caller's deadline at which it is answered that its turn did not come."""


class CallerGone(Unavailable):
    """Nobody waits for the answer any more, and nothing was begun."""

    def __init__(self) -> None:
        super().__init__("the caller has gone")


@dataclass(slots=True)
class _Call:
    ends_at: float | None
    begun: bool = False


_current: ContextVar[_Call | None] = ContextVar("call", default=None)


def set_time_left(seconds: float | None) -> None:
    """Begin to count for this call; None for a caller that waits without a limit."""
    _current.set(_Call(None if seconds is None else time.monotonic() + seconds))


def set_caller_gone() -> None:
    """The caller of this call gave up: also for the tasks that work for it."""
    call = _current.get()
    if call is not None:
        call.ends_at = time.monotonic()


def time_left() -> float | None:
    """Seconds, below zero when the caller has gone; None without a limit, or outside a call."""
    call = _current.get()
    return None if call is None or call.ends_at is None else call.ends_at - time.monotonic()


def time_to_wait() -> float | None:
    """Seconds for which the call can wait for something and still be answered in time; None without a limit."""
    left = time_left()
    return None if left is None else left - MARGIN


def begin_work() -> bool:
    """Note that something is done for this call now, which is then finished whatever becomes of its caller.

    Whoever asks a database or another server on a call's behalf says so first.

    Returns:
        Whether it is the first thing that is done for the call; true outside one.

    Raises:
        CallerGone: it would be the first thing that is done, and nobody waits for it.
    """
    call = _current.get()
    if call is None or call.begun:
        return call is None
    if call.ends_at is not None and call.ends_at <= time.monotonic():
        raise CallerGone
    call.begun = True
    return True


@contextmanager
def outside_calls() -> Iterator[None]:
    """What is done in the context is not done for the call that is being served."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def apart_from_calls(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Work in a task of its own, which is not done for the call that happens to be served now."""
    return asyncio.create_task(work, context=Context())


def has_begun() -> bool:
    """Whether something was done for this call; true as well for work that nobody called for."""
    call = _current.get()
    return call is None or call.begun
