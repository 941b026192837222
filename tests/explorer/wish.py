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

LONGEST: Final = 2.0
"""Seconds; no order depends on it."""
GIVEN_UP: Final = PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED

Handle = WorkflowHandle[object, object]


@dataclass(slots=True)
class Wish:
    """Whether somebody wishes the order cancelled, and what the saga did about it."""

    _is_open: bool = False
    """Whether it is sent, and its consequences not all seen."""
    _gives_up: bool = False
    """Whether the saga asked for an activity to be cancelled."""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _is_reporting: bool = False
    """Whether an activity has ended that was given up, and its report may be on its way to the server."""

    def send(self) -> None:
        """Somebody wishes it, perhaps once more."""
        self._heard.clear()
        self._is_open = True

    def hear(self, *, gives_up: bool, loop: asyncio.AbstractEventLoop) -> None:
        """The saga has the wish; called from the thread of its task."""
        self._gives_up = self._gives_up or gives_up
        loop.call_soon_threadsafe(self._heard.set)

    async def closes_before_end_of_activity(self, handle: Handle) -> bool:
        """Return when the activity that calls this may end; whether the workflow has closed by then."""
        if not self._is_open:
            return False
        with suppress(TimeoutError):  # its task was lost
            async with asyncio.timeout(LONGEST):
                await self._heard.wait()
                self._is_open = False
                if not self._gives_up:
                    return False
                self._gives_up = False
                async for states in _pending_activities(handle):
                    if all(state == GIVEN_UP for state in states):
                        self._is_reporting = True
                        return False
                return True
        return False

    async def begin_step(self, handle: Handle) -> None:
        """Return when no report is on its way of an activity that was given up before this step."""
        if self._heard.is_set():
            self._is_open = self._gives_up = False  # what the saga gave up when it heard the wish is not this step
        if not self._is_reporting:
            return
        self._is_reporting = False
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                async for states in _pending_activities(handle):
                    if GIVEN_UP not in states:
                        return


async def _pending_activities(handle: Handle) -> AsyncIterator[list[PendingActivityState.ValueType]]:
    """Their states, again and again while the workflow is open; the server tells nobody that they change."""
    while True:
        seen = await handle.describe()
        if seen.status is not WorkflowExecutionStatus.RUNNING:
            return
        yield [activity.state for activity in seen.raw_description.pending_activities]
        await asyncio.sleep(0.005)
