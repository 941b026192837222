"""What all workflows of an order have in common."""

from __future__ import annotations

from collections.abc import Callable

from temporalio import workflow

from workflows.attention import Attention
from workflows.changes import Changes, never
from workflows.parked_step import Decision, ParkedStep
from workflows.step_runner import StepRunner


class ParkableWorkflow:
    """A workflow that runs steps, any of which may be parked until a person sends an update.

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
        self._parked = ParkedStep(self._attention)
        self._runner = StepRunner(
            self._attention, self._parked, attention_after=attention_after, is_cancelled=is_cancelled
        )

    @workflow.update
    def retry(self) -> str:
        """Run the parked step again, now that its cause is fixed; answers with the step's name."""
        return self._parked.decide(Decision.RETRY)

    @retry.validator
    def _can_retry(self) -> None:
        self._parked.check(Decision.RETRY)

    @workflow.update
    def resolve(self) -> str:
        """Go on without the parked step, whose work was done by hand; answers with the step's name."""
        return self._parked.decide(Decision.RESOLVE)

    @resolve.validator
    def _can_resolve(self) -> None:
        self._parked.check(Decision.RESOLVE)
