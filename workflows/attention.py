"""People's attention to an order: a row at the order service, and what the Web UI shows of the workflow."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

from domain.saga import AttentionRequest
from workflows import web_ui
from workflows.activity_calls import start_retrying
from workflows.steps import OrderSteps

MAX_NOTE_LENGTH: Final = 1_000
"""Characters of a note that are shown; the order service accepts twice as many."""


class Attention:
    """Raises and clears attention for the steps of one workflow.

    Args:
        order_id: the order that people are pointed to.
        qualifier: appended to the names of steps, so that those of a refund or dispute are not taken for the order's.
    """

    def __init__(self, order_id: str, *, qualifier: str = "") -> None:
        self._order_id = order_id
        self._qualifier = qualifier

    async def raise_for(self, step: str, note: str) -> None:
        """Raise attention until it is cleared. Where it is raised already, it stays as it is."""
        web_ui.show_attention(step, note)
        await _finish(self._start(step, note))

    async def clear(self, step: str) -> None:
        """The step needs nobody any more."""
        web_ui.show_attention_cleared()
        await _finish(self._start(step, None))

    async def hold(self, step: str, note: str, *, until: Callable[[], bool]) -> None:
        """Raise attention, wait until the condition holds, and clear it."""
        note = note[:MAX_NOTE_LENGTH]
        web_ui.show_attention(step, note)
        raised = self._start(step, note)
        await workflow.wait_condition(until)
        await _finish(raised)  # else it could be overtaken by the clearing, and attention would stay for good
        await self.clear(step)

    def _start(self, step: str, note: str | None) -> workflow.ActivityHandle[None]:
        qualified = f"{step} {self._qualifier}" if self._qualifier else step
        request = AttentionRequest(order_id=self._order_id, step=qualified, why=note)
        return start_retrying(OrderSteps.attention, request, summary=f"attention: {step}")


async def _finish(activity: workflow.ActivityHandle[None]) -> None:
    """Wait for it. If an operator made it fail by hand, that is no reason to end an order."""
    with suppress(FailureError):
        await activity
