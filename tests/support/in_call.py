"""A call that is being served, for tests that run what is called without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.deadline import outside_calls, set_time_left


@contextmanager
def in_call(seconds: float | None) -> Iterator[None]:
    """Serve a call of its own in the context, whose caller waits for so long; None without a limit.

    A test without a loop that called `set_time_left` itself would leave its call, begun or not, to all tests after it.
    """
    with outside_calls():
        set_time_left(seconds)
        yield
