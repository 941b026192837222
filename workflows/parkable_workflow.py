"""What all workflows of an order have in common."""

from __future__ import annotations

from collections.abc import Callable

from temporalio import workflow

from domain.stuck_steps import Decision, StepAnswer
from workflows.attention import Attention
from workflows.changes import Changes, never
from workflows.step_runner import StepRunner
from workflows.stuck_step import Remedy, StuckStep


class ParkableWorkflow:
    """A workflow that runs steps, any of which may fail or be parked until a person sends an update.

    Args:
        order_id: the order that it is about.
        attention_after: seconds for which a step fails until it raises attention.
        qualifier: appended to the names of its steps in attention; none for the order's own saga.
        is_cancelled: whether somebody asked for the order's cancellation.
    """

    def __init__(
        self,
        order_id: str,
        *,
        attention_after: float,
        qualifier: str = "",
        is_cancelled: Callable[[], bool] = never,
    ) -> None:
        self._changes = Changes()
        self._attention = Attention(order_id, qualifier=qualifier)
        self._stuck = StuckStep(self._attention)
        self._runner = StepRunner(
            self._attention, self._stuck, attention_after=attention_after, is_cancelled=is_cancelled
        )

    @workflow.update
    async def retry(self, decision: Decision | None = None) -> StepAnswer:
        """Attempt the step that is parked or keeps failing at once; answers with what came of this attempt.

        If it was refused again, it stays parked; if it failed again, it is tried again by itself as before.
        """
        return await self._stuck.ask(Remedy.RETRY, decision)

    @retry.validator
    def _can_retry(self, decision: Decision | None = None) -> None:
        self._stuck.check(Remedy.RETRY)

    @workflow.update
    async def resolve(self, decision: Decision | None = None) -> StepAnswer:
        """Go on without the parked step, whose work was done by hand; answers once the workflow has gone on."""
        return await self._stuck.ask(Remedy.RESOLVE, decision)

    @resolve.validator
    def _can_resolve(self, decision: Decision | None = None) -> None:
        self._stuck.check(Remedy.RESOLVE)
