"""Refunds that change by themselves some time after they were made, as planned in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from sandbox.stripe.ledger import Ledger
from sandbox.stripe.store import Store


class Planner:
    """Carries out what is planned once it is due; `wake` it when something new is planned.

    `owed` is called when events may wait for delivery.
    """

    def __init__(self, store: Store, ledger: Ledger, *, clock: Callable[[], float], owed: Callable[[], None]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._owed = owed
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again at what is due."""
        self._woken.set()

    async def run(self) -> None:
        """Carry out plans until cancelled."""
        while True:
            self._woken.clear()
            pause = self.carry_out_due()
            with suppress(TimeoutError):  # the next plan is due
                await asyncio.wait_for(self._woken.wait(), pause)

    def carry_out_due(self) -> float | None:
        """Carry out all that is due; returns how long to wait for the next, if there is one."""
        while (plan := self._store.next_plan()) is not None:
            pause = plan.due_at - self._clock()
            if pause > 0:
                return pause
            with self._store.transaction():
                self._ledger.carry_out(plan)
            self._owed()
        return None
