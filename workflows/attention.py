"""People's attention to an order: a row at the order service, and what the Web UI shows of the workflow."""

from __future__ import annotations

import asyncio
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

        self._action = ""

    async def raise_for(self, step: str, note: str) -> None:
        """Raise attention until it is cleared. Where it is raised already, it stays as it is."""
        self.show(step, note)
        await finish(self.start(step, note))

    async def clear(self, step: str) -> None:
        """The step needs nobody any more."""
        web_ui.show_attention_cleared(self._action)
        await finish(self._start(step, None))

    def hold(self, step: str, note: str) -> HeldAttention:
        """Raise attention until what is answered is cleared."""
        return HeldAttention(self, step, note)

    def show_action(self, action: str) -> None:
        """A person did something about the step, in words; it is shown until something else is."""
        self._action = action

    def show(self, step: str, note: str) -> None:
        """Show that the step needs a person, and what was done about it before."""
        web_ui.show_attention(step, note[:MAX_NOTE_LENGTH], self._action)

    def start(self, step: str, note: str) -> workflow.ActivityHandle[None]:
        """Begin to raise it."""
        return self._start(step, note[:MAX_NOTE_LENGTH])

    def _start(self, step: str, note: str | None) -> workflow.ActivityHandle[None]:
        qualified = f"{step} {self._qualifier}" if self._qualifier else step
        request = AttentionRequest(order_id=self._order_id, step=qualified, why=note)
        return start_retrying(OrderSteps.attention, request, summary=f"attention: {step}")


class HeldAttention:
    """Attention for a step, as long as it needs somebody.

    Args:
        attention: the workflow's.
        step: its name.
        note: the cause, in words for people.
    """

    def __init__(self, attention: Attention, step: str, note: str) -> None:
        self._attention = attention
        self._step = step
        attention.show(step, note)
        self._raised = attention.start(step, note)
        self._newer: str | None = None
        self._following: asyncio.Task[None] | None = None

    def change(self, note: str) -> None:
        """It needs somebody for this cause by now."""
        self._attention.show(self._step, note)
        if self._raised.done():
            self._raised = self._attention.start(self._step, note)
            return
        if self._newer is None:
            self._following = asyncio.create_task(self._follow())
        self._newer = note  # an order service that is away would get one after the other: only the last one follows

    async def clear(self) -> None:
        """The step needs nobody any more."""
        self._newer = None
        await finish(self._raised)  # else it could be overtaken by the clearing, and attention would stay for good
        await self._attention.clear(self._step)

    async def _follow(self) -> None:
        """Raise it for the cause that came meanwhile."""
        await finish(self._raised)
        newer, self._newer = self._newer, None
        if newer is not None:
            self._raised = self._attention.start(self._step, newer)


async def finish(activity: workflow.ActivityHandle[None]) -> None:
    """Wait for it. If an operator made it fail by hand, that is no reason to end an order."""
    with suppress(FailureError):
        await activity
