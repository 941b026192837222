"""How late an event loop comes to what is due: the sign that its process has more to do than its CPU can."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NoReturn

from runtime.metrics import LOOP_LAG_SECONDS

_PAUSE: Final = 0.2
"""Seconds from one look to the next, on a loop that is not late."""
_LOOKS: Final = 5
"""Looks that count: a second of them at least."""


class LoopLag:
    """Looks again and again how late the loop is that it runs in."""

    def __init__(self) -> None:
        self._looks: deque[float] = deque(maxlen=_LOOKS)

    @property
    def standing(self) -> float:
        """How late it was at each of the last looks, at least, seconds: one long callback among them says nothing."""
        return min(self._looks) if len(self._looks) == _LOOKS else 0.0

    def note(self, late: float) -> None:
        """Count a look that found the loop so late, seconds."""
        self._looks.append(max(late, 0.0))
        LOOP_LAG_SECONDS.set(self.standing)

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PAUSE
            await asyncio.sleep(_PAUSE)
            self.note(loop.time() - due)
