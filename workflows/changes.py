"""Signals as wake-ups: they say that something changed, and what it is has to be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow


def never() -> bool:
    """A condition that does not come true."""
    return False


class Changes:
    """Whether a workflow was notified of a change that it has not looked at yet."""

    def __init__(self) -> None:
        self._are_pending = False

    def notify(self) -> None:
        """Something changed. Called by a signal's handler."""
        self._are_pending = True

    def clear(self) -> None:
        """The workflow is about to read what there is."""
        self._are_pending = False

    def are_pending(self) -> bool:
        """Whether there was a notification since the last `clear` or `wait`."""
        return self._are_pending

    async def wait(self, *, longest: timedelta, summary: str, or_until: Callable[[], bool] = never) -> bool:
        """Wait for a change, and clear it.

        Args:
            longest: how long to wait; an event may have been lost, so the caller reads afterwards in any case.
            summary: the timer's label in the Web UI.
            or_until: a condition that ends the wait too.

        Returns:
            Whether there was a change, rather than the timeout or the condition.
        """
        try:
            await workflow.wait_condition(
                lambda: self._are_pending or or_until(), timeout=longest, timeout_summary=summary
            )
        except TimeoutError:
            return False
        was_pending, self._are_pending = self._are_pending, False
        return was_pending
