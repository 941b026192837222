"""Whose turn it is among the workflows of one case: refunds and disputes of a payment run side by side.

Which of two workflows asks first would be chance. So a step waits until every workflow of its case waits too, for its
own turn or for the world, and then one goes: those that are at work before those that the clock woke, and of them the
one that has had the fewest turns, so that they mix. What a workflow is at is counted: what is on its way to it
(`coming`: a start, a signal, an answer of a step) and which steps it has asked for that have not come here (`due`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 2.0
"""Real seconds after which a count is taken for wrong: a workflow task was lost, or its workflow is closed."""


@dataclass(slots=True)
class Flow:
    """One workflow of a case; its later runs are the same."""

    name: str
    """As schedules call it: r1 is the first refund, d1 the first dispute."""
    workflow_id: str
    number: int
    coming: int = 0
    due: int = 0
    local: int = 0
    """Its local steps that wait here: until they are done it hears of nothing that is on its way."""
    turns: int = 0
    """How many it has had."""
    by_clock: bool = False
    """Whether the clock woke it since it last waited."""
    dies: bool = False
    """Whether the worker is to die with the workflow task that it is at."""
    is_retry: bool = False
    """Whether the workflow task under way is a repeated one."""

    @property
    def is_busy(self) -> bool:
        """Whether it will ask for a turn, or wait, without anything happening first."""
        return self.due > 0 or (self.coming > 0 and not self.local)


@dataclass(slots=True)
class Gate:
    """The turns of one case."""

    flows: dict[str, Flow] = field(default_factory=dict)
    """By workflow id."""
    _is_held: bool = False
    _waiting: dict[asyncio.Future[None], tuple[bool, int, int, bool]] = field(default_factory=dict)

    def add(self, name: str, workflow_id: str) -> Flow:
        """The flow of that workflow id, a new one if there is none."""
        return self.flows.setdefault(workflow_id, Flow(name, workflow_id, len(self.flows)))

    def count(self, flow: Flow, *, arrived: int, asked: int, woke: bool, waits: bool) -> None:
        """A workflow task is done: what it was brought, what it asks for, and whether the clock caused it."""
        flow.coming = max(flow.coming - arrived, 0)
        flow.due += asked
        flow.by_clock = (flow.by_clock or woke) and not waits
        self._grant()

    @asynccontextmanager
    async def turn(
        self, flow: Flow, *, is_local: bool = False, is_beside: bool = False, is_repeat: bool = False
    ) -> AsyncIterator[None]:
        """Hold the turn; `is_beside` for a step beside another one of its workflow, which it goes before."""
        flow.due = max(flow.due - 1, 0) if not is_repeat else flow.due
        flow.by_clock = flow.by_clock or is_repeat
        mine = asyncio.get_running_loop().create_future()
        self._waiting[mine] = (flow.by_clock, flow.turns, flow.number, not is_beside)
        flow.local += is_local
        self._grant()
        try:
            while not mine.done():
                await asyncio.wait([mine], timeout=LONGEST)
                if not mine.done() and not self._is_held:
                    self._give_up_counting()
        except asyncio.CancelledError:
            if mine.done():
                self._release()
            raise
        finally:
            self._waiting.pop(mine, None)
            flow.local -= is_local
        flow.turns += 1
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        self._is_held = False
        self._grant()

    def _give_up_counting(self) -> None:
        for flow in self.flows.values():
            flow.coming = flow.due = 0
        self._grant()

    def _grant(self) -> None:
        if self._is_held or not self._waiting or any(flow.is_busy for flow in self.flows.values()):
            return
        first = min(self._waiting, key=lambda future: self._waiting[future])
        del self._waiting[first]
        self._is_held = True
        first.set_result(None)
