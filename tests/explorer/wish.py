"""A wish to cancel on its way to the saga, and the activity that the saga gives up when it hears it.

The test server cannot cancel an activity that has completed since the workflow task began: it refuses the whole task
(`ACTIVITY_UNKNOWN`), with every attempt anew, and the workflow hangs for good. A real server takes it. So an activity
that is under way when the wish is sent ends only after the saga has heard it and, if it gives the activity up, after
the server knows that. Which of the two comes first is then the same in every run, too.

Mostly the saga undoes everything with local steps and closes in the same workflow task in which it gives the activity
up. The activity's report then comes too late, and its lock on the server's clock is to be given back
(`tests.explorer.lab`). If the workflow stays open, its next step waits until the report is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from domain.saga import OrderResult

LONGEST: Final = 30.0
"""Seconds; no order depends on it."""

Handle = WorkflowHandle[object, object]


@dataclass(slots=True)
class Wish:
    """Whether somebody wishes the order cancelled, and what the saga did about it."""

    answer: asyncio.Task[OrderResult | None] | None = None
    """What the saga answers to the order service; None if it is closed by then."""
    given_up: set[str] = field(default_factory=set)
    """The ids of the activities that the saga asked to be cancelled."""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the saga has every wish that was sent."""
    _reporting: set[str] = field(default_factory=set)
    """Those activities that were given up, and whose reports may be on their way to the server."""

    def __post_init__(self) -> None:
        self._heard.set()

    def send(self) -> None:
        """Somebody wishes it, perhaps once more."""
        self._heard.clear()

    def hear(self, loop: asyncio.AbstractEventLoop) -> None:
        """The saga has the wish; called from the thread of its task."""
        loop.call_soon_threadsafe(self._heard.set)

    async def read_answer(self) -> OrderResult | None:
        """What the saga answered, if it was asked before it closed.

        Raises:
            TimeoutError: it never did.
        """
        return None if self.answer is None else await asyncio.wait_for(self.answer, LONGEST)

    async def closes_before_end_of(self, activity_id: str, handle: Handle) -> bool:
        """Return when the activity, which calls this, may end; whether the workflow has closed by then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                await self._heard.wait()
                if activity_id not in self.given_up:
                    return False
                async for pending in _pending_activities(handle):
                    if pending.get(activity_id) != PendingActivityState.PENDING_ACTIVITY_STATE_STARTED:
                        self._reporting.add(activity_id)
                        return False
                return True
        return False

    async def begin_step(self, handle: Handle) -> None:
        """Return when no report is on its way of an activity that was given up before this step."""
        if not self._reporting:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                async for pending in _pending_activities(handle):
                    if self._reporting.isdisjoint(pending):
                        break
        self._reporting.clear()


async def _pending_activities(handle: Handle) -> AsyncIterator[dict[str, PendingActivityState.ValueType]]:
    """Their states by id, again and again while the workflow is open; the server tells nobody that they change."""
    while True:
        seen = await handle.describe()
        if seen.status is not WorkflowExecutionStatus.RUNNING:
            return
        yield {activity.activity_id: activity.state for activity in seen.raw_description.pending_activities}
        await asyncio.sleep(0.005)
