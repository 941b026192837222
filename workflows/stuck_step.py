"""The step of a workflow that a person can free: one that was refused, and is parked, or one that keeps failing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from temporalio import workflow

from domain.stuck_steps import RESOLVE_UPDATE, RETRY_UPDATE, Decision, StepAnswer, StepOutcome
from workflows import web_ui
from workflows.attention import Attention
from workflows.step_outcome import Done, Failed, Outcome, Refused

ANSWERS_WITH_OUTCOME: Final = "updates-answer-with-the-outcome"
"""Patch: before it, `retry` and `resolve` were answered as soon as they were known."""


class Remedy(StrEnum):
    """What a person can do about a stuck step; the values are the names of the updates."""

    RETRY = RETRY_UPDATE
    RESOLVE = RESOLVE_UPDATE


@dataclass(slots=True)
class _Request:
    """What somebody asked for; whoever asks for the same meanwhile gets the same answer."""

    remedy: Remedy
    decision: Decision | None = None
    answer: StepAnswer | None = None


class StuckStep:
    """The stuck step of one workflow, of which there is one at a time, and what people ask for it.

    Args:
        attention: the workflow's.
    """

    def __init__(self, attention: Attention) -> None:
        self._attention = attention
        self._step: str | None = None
        self._parked = False
        self._resolvable = False
        self._remedy: Remedy | None = None
        self._request: _Request | None = None

    @property
    def remedy(self) -> Remedy | None:
        """What somebody asked for since the step got stuck, and was not taken up yet."""
        return self._remedy

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what comes of their request."""
        return self._request is not None

    def park(self, step: str, *, resolvable: bool) -> None:
        """The step was refused, and is not tried again by itself; `resolvable` is whether a person can do its work."""
        self._step, self._parked, self._resolvable, self._remedy = step, True, resolvable, None

    def keep_trying(self, step: str) -> None:
        """The step failed, and is tried again by itself."""
        self._step, self._parked, self._resolvable, self._remedy = step, False, False, None

    def leave(self) -> None:
        """The step is not stuck any more. A request that has no answer yet gets it from the next step that runs."""
        self._step = None

    def take(self) -> Remedy | None:
        """What somebody asked for; it is taken up now."""
        remedy, self._remedy = self._remedy, None
        return remedy

    async def wait(self, step: str, note: str, *, resolvable: bool, or_until: Callable[[], bool]) -> Remedy | None:
        """Park the step with attention until somebody asks for something.

        Args:
            step: its name.
            note: the cause, in words for people.
            resolvable: whether its work can be done by hand.
            or_until: a condition that ends the parking too.

        Returns:
            What was asked for, or None if the condition came first. The answer is what comes of the next step.
        """
        self.park(step, resolvable=resolvable)
        held = self._attention.hold(step, note)
        await workflow.wait_condition(lambda: self._remedy is not None or or_until())
        self.leave()
        remedy = self.take()
        await held.clear()
        return remedy

    def check(self, remedy: Remedy) -> None:
        """Check that somebody can ask for it now.

        Raises:
            ValueError: they cannot; the message says why, and what to do.
        """
        if self._step is None:
            raise ValueError(f"no step is parked or fails: there is nothing to {remedy}")
        if remedy is Remedy.RESOLVE and not self._parked:
            raise ValueError(
                f"step {self._step} is not parked, but fails and is tried again: fix the cause, or send retry"
            )
        if remedy is Remedy.RESOLVE and not self._resolvable:
            raise ValueError(f"step {self._step} cannot be resolved by hand: fix the cause and send retry")
        if self._request is not None and self._request.remedy is not remedy:
            raise ValueError(f"{self._request.remedy} is under way for step {self._step}: see what comes of it first")

    async def ask(self, remedy: Remedy, decision: Decision | None) -> StepAnswer:
        """Ask for it, and wait for what comes of it."""
        step = self._step or ""
        self._remedy = remedy
        if not workflow.patched(ANSWERS_WITH_OUTCOME):
            return StepAnswer(step=step, outcome=StepOutcome.UNKNOWN)
        request = self._request = self._request or _Request(remedy, decision)
        await workflow.wait_condition(lambda: request.answer is not None)
        assert request.answer is not None  # noqa: S101  # waited for
        return request.answer

    def answer(self, step: str, outcome: Outcome[object]) -> None:
        """A step was attempted: whoever waits for that is told what came of it."""
        match outcome:
            case Done():
                is_resolved = self._request is not None and self._request.remedy is Remedy.RESOLVE
                self._answer(step, StepOutcome.RESOLVED if is_resolved else StepOutcome.DONE)
            case Refused():
                self._answer(step, StepOutcome.REFUSED, refusal=outcome.refusal, message=outcome.message)
            case Failed():
                self._answer(step, StepOutcome.FAILED, message=outcome.message)

    def answer_resolved(self, step: str) -> None:
        """The workflow goes on without the step."""
        self._answer(step, StepOutcome.RESOLVED)

    def answer_stopped(self, step: str) -> None:
        """A cancellation request was faster."""
        self._answer(step, StepOutcome.STOPPED)

    def _answer(
        self, step: str, outcome: StepOutcome, *, refusal: str | None = None, message: str | None = None
    ) -> None:
        request, self._request, self._remedy = self._request, None, None
        if request is None:
            return
        request.answer = StepAnswer(step=step, outcome=outcome, refusal=refusal, message=message)
        self._attention.show_action(web_ui.describe_action(request.remedy, request.decision, request.answer))
