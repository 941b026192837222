"""Taking turns at what there is little of: so many at once, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from runtime.refusal import Shed, Unavailable

_shed: Final = partial(Shed, why="full_line")


class Turns:
    """Lets so many callers in at once; the others wait in the order in which they came.

    Args:
        at_once: how many.
        of: what they take turns at, for the error's text, such as "connection".
        error: raised to whoever gets no turn in time.
        most_waiting: how many may wait; None for any number.
        when_full: makes the error, of its text, that is raised to whoever comes when so many wait.
    """

    def __init__(
        self,
        at_once: int,
        *,
        of: str,
        error: type[Unavailable] = Unavailable,
        most_waiting: int | None = None,
        when_full: Callable[[str], Unavailable] = _shed,
    ) -> None:
        self._turns = asyncio.Semaphore(at_once)  # fair: first come, first served
        self._of = of
        self._error = error
        self._most_waiting = most_waiting
        self._when_full = when_full
        self.at_once = at_once
        self._waiting = 0
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many are in."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._waiting

    @asynccontextmanager
    async def take(self, *, wait: float | None, however_many: bool = False) -> AsyncIterator[None]:
        """A turn, which lasts as long as the context is open.

        Args:
            wait: for how many seconds it is waited for; None for any time.
            however_many: wait in line however long it is, for what has to be finished.

        Raises:
            Unavailable, as of `when_full`: too many wait for theirs.
            Unavailable, as `error`: it did not come in time.
        """
        if not however_many and self._most_waiting is not None and self._waiting >= self._most_waiting:
            raise self._when_full(f"{self._waiting} callers wait for a {self._of}: too many callers")
        self._waiting += 1
        try:
            async with asyncio.timeout(wait):
                await self._turns.acquire()
        except TimeoutError:
            raise self._error(f"no {self._of} came free in {wait:.2f} s: too many callers") from None
        finally:
            self._waiting -= 1
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._turns.release()
