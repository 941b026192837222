"""Whose turn it is among the workflows of one case, which run side by side: an order's, its refunds', its disputes'.

Which of two workflows asks first would be chance. So a step waits until every workflow of its case waits too, for its
own turn or for something to happen, and then one goes: those that are at work before those that the clock woke, and of
them the one that has had the fewest turns, so that they mix. What a workflow is at is counted: what is on its way to it
(`coming`: a start, a signal, an update, an answer of a step) and which steps it has asked for that have not come here
(`due`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.support.busy_machine import slowdown

LONGEST: Final = 10.0
"""Real seconds, more on a busy machine, after which a count is taken for wrong; the run then may not be repeatable."""


@dataclass(slots=True, eq=False)
class Flow:
    """One workflow of a case; its later runs are the same."""

    name: str
    """As schedules call it: r1 is the first refund, d1 the first dispute; the order's own has none."""
    workflow_id: str
    number: int
    waits_are_points: bool = False
    """Whether things can happen where it waits; else only while a step of it is under way."""
    coming: int = 0
    due: int = 0
    local: int = 0
    """Its local steps, or waits, that wait here: until they are done it hears of nothing that is on its way."""
    signals: int = 0
    """How many were sent to it."""
    turns: int = 0
    """How many it has had."""
    by_clock: bool = False
    """Whether the clock woke it since it last waited."""
    is_open: bool = True
    """Whether its last run is not known to have closed."""
    comes_again: bool = False
    """Whether its last task was lost, and the same one is to come."""
    is_closing: bool = False
    """Whether it has asked to be closed, and nobody knows yet that it is."""
    dies: bool = False
    """Whether the worker is to die with the workflow task that it is at."""
    starts_with_signal: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether it will ask for a turn, or wait, without anything happening first."""
        return self.comes_again or self.is_closing or self.due > 0 or (self.coming > 0 and not self.local)

    def prefixed(self, name: str) -> str:
        """The name of one of its steps, as schedules have it."""
        return f"{self.name}.{name}" if self.name else name


@dataclass(slots=True)
class Turns:
    """The turns of one case."""

    flows: list[Flow] = field(default_factory=list)
    stalls: int = 0
    """How often a count was wrong."""
    _is_held: bool = False
    _waiting: dict[asyncio.Future[None], tuple[bool, int, int, bool]] = field(default_factory=dict)

    def add(self, name: str, workflow_id: str, *, waits_are_points: bool = False) -> Flow:
        """A new workflow."""
        flow = Flow(name, workflow_id, len(self.flows), waits_are_points)
        self.flows.append(flow)
        return flow

    def task_done(self, flow: Flow, *, arrived: int, asked: int, woke: bool, closes: bool) -> None:
        """A workflow task is done: what it was brought, what it asks for, whether the clock caused it, and whether the
        workflow asks to be closed.
        """
        flow.coming = max(flow.coming - arrived, 0)
        flow.due += asked
        flow.is_closing, flow.comes_again = closes, False
        flow.by_clock = (flow.by_clock or woke) and asked > 0
        self._grant()

    def task_lost(self, flow: Flow, *, arrived: int) -> None:
        """A workflow task is lost, with what it was brought and what it asks for; it comes again."""
        flow.coming, flow.comes_again = max(flow.coming - arrived, 0), True
        self._grant()

    def closed(self, flow: Flow) -> None:
        """The workflow has closed: nothing comes of it any more."""
        flow.is_open, flow.is_closing, flow.coming, flow.due = False, False, 0, 0
        self._grant()

    def expect(self, flow: Flow, change: int = 1) -> None:
        """So much more, or less, is on its way to the workflow."""
        flow.coming = max(flow.coming + change, 0)
        self._grant()

    @asynccontextmanager
    async def step(self, flow: Flow, *, is_local: bool, is_beside: bool, is_repeat: bool) -> AsyncIterator[None]:
        """Hold the turn for a step; `is_beside` for one beside another step of its workflow, which it goes before."""
        if is_repeat:  # the server's clock caused it
            flow.by_clock = True
        else:
            flow.due = max(flow.due - 1, 0)
        async with self._hold(flow, blocks=is_local, is_beside=is_beside):
            yield

    @asynccontextmanager
    async def wait(self, flow: Flow) -> AsyncIterator[None]:
        """Hold the turn where the workflow waits, within its task."""
        async with self._hold(flow, blocks=True):
            yield

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[None]:
        """Hold the turn while something happens that belongs to no workflow."""
        async with self._hold(Flow("", "", -1), blocks=False):
            yield

    @asynccontextmanager
    async def _hold(self, flow: Flow, *, blocks: bool, is_beside: bool = False) -> AsyncIterator[None]:
        mine = asyncio.get_running_loop().create_future()
        self._waiting[mine] = (flow.by_clock, flow.turns, flow.number, not is_beside)
        flow.local += blocks
        self._grant()
        try:
            while not mine.done():
                await asyncio.wait([mine], timeout=LONGEST * slowdown())
                if not mine.done() and not self._is_held:
                    self._give_up_counting()
        except asyncio.CancelledError:
            if mine.done():
                self._release()
            raise
        finally:
            self._waiting.pop(mine, None)
        flow.turns += 1
        try:
            yield
        finally:
            flow.local -= blocks
            self._release()

    def _release(self) -> None:
        self._is_held = False
        self._grant()

    def _give_up_counting(self) -> None:
        self.stalls += 1
        for flow in self.flows:
            flow.comes_again, flow.is_closing, flow.coming, flow.due = False, False, 0, 0
        self._grant()

    def _grant(self) -> None:
        if self._is_held or not self._waiting or any(flow.is_busy for flow in self.flows):
            return
        first = min(self._waiting, key=lambda future: self._waiting[future])
        del self._waiting[first]
        self._is_held = True
        first.set_result(None)
