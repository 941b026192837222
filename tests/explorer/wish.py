"""A wish to cancel on its way to the saga, and the activity that the saga gives up when it hears it.

The test server cannot cancel an activity that has completed since the workflow task began: it refuses the whole task
(`ACTIVITY_UNKNOWN`), with every attempt anew, and the workflow hangs for good. A real server takes it. So an activity
that is under way when the wish is sent ends only after the saga has heard it and, if it gives the activity up, after
the server knows that. Which of the two comes first is then the same in every run, too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

LONGEST: Final = 2.0
"""Seconds; no order depends on it."""


@dataclass(slots=True)
class Wish:
    """Whether somebody wishes the order cancelled, and what the saga did about it."""

    is_sent: bool = False
    gives_up: bool = False
    """Whether the saga asked for an activity to be cancelled."""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, *, gives_up: bool, loop: asyncio.AbstractEventLoop) -> None:
        """The saga has the wish; called from the thread of its task."""
        self.gives_up = self.gives_up or gives_up
        loop.call_soon_threadsafe(self._heard.set)

    async def wait_until_heard(self, handle: WorkflowHandle[object, object]) -> None:
        """Return when the activity that calls this may end."""
        if not self.is_sent:
            return
        try:
            async with asyncio.timeout(LONGEST):
                await self._heard.wait()
                if self.gives_up:
                    await _wait_until_given_up(handle)
        except TimeoutError:
            return  # the workflow is closed, or its task was lost


async def _wait_until_given_up(handle: WorkflowHandle[object, object]) -> None:
    while True:
        seen = await handle.describe()
        pending = seen.raw_description.pending_activities
        if seen.status is not WorkflowExecutionStatus.RUNNING or all(
            activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED for activity in pending
        ):
            return
        await asyncio.sleep(0.005)  # the server tells nobody of it
