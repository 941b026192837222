"""A request to cancel on its way to a workflow, and the activity that the workflow abandons when it has it.

The test server cannot cancel an activity that has completed since the workflow task began: it refuses the whole task
(`ACTIVITY_UNKNOWN`), with every attempt anew, and the workflow hangs for good. A real server takes it. So an activity
that is under way when the request is sent ends only after the workflow has it and, if it abandons the activity, after
the server knows that. Which of the two comes first is then the same in every run, too.

Mostly the saga undoes everything with local steps and closes in the same workflow task in which it abandons the
activity. The activity's report then comes too late, and its lock on the server's clock is to be released, see
`time_skipping`. If the workflow stays open, its next step waits until the report is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from tests.saga.simulator.environment import LONG

Handle = WorkflowHandle[Any, Any]


@dataclass(slots=True)
class Cancelling:
    """Whether somebody asked for the cancellation of what a workflow is about, and what the workflow did about it."""

    abandoned: set[str] = field(default_factory=set)
    """The ids of the activities that the workflow asked to be cancelled."""
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the workflow has every request that was sent."""
    _reporting: set[str] = field(default_factory=set)
    """Those activities that were abandoned, and whose reports may be on their way to the server."""

    def __post_init__(self) -> None:
        self._arrived.set()

    def sent(self) -> None:
        """Somebody asks for it, perhaps once more."""
        self._arrived.clear()

    def arrived(self) -> None:
        """The workflow has the request, or has closed."""
        self._arrived.set()

    async def closes_before_end_of(self, activity_id: str, handle: Handle) -> bool:
        """Return when the activity, which calls this, may end; whether the workflow has closed by then."""
        async with asyncio.timeout(LONG.total_seconds()):
            await self._arrived.wait()
            if activity_id not in self.abandoned:
                return False
            async for pending in _pending_activities(handle):
                if pending.get(activity_id) != PendingActivityState.PENDING_ACTIVITY_STATE_STARTED:
                    self._reporting.add(activity_id)
                    return False
        return True

    async def begin_step(self, handle: Handle) -> None:
        """Return when no report is on its way of an activity that was abandoned before this step."""
        if not self._reporting:
            return
        async with asyncio.timeout(LONG.total_seconds()):
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
