"""Ctrl-C and SIGTERM as one ordinary exception, so that whatever is open is closed in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class SignalledError(Exception):
    """The program was asked to end.

    Attributes:
        number: the signal that asked.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        super().__init__(number.name)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGINT or SIGTERM cancels the current task; out of this context comes `SignalledError`.

    Further signals change nothing: the body is already on its way out.

    Raises:
        SignalledError: a signal came.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    came: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if not came and task is not None:
            task.cancel()
        came.append(number)

    handled = (signal.SIGINT, signal.SIGTERM)
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    except asyncio.CancelledError:
        if not came or task is None:
            raise
        task.uncancel()
        raise SignalledError(came[0]) from None
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
