"""How a workflow runs its steps: local first, then retried for as long as it takes, with attention if that is long.

A step that is refused for a reason its workflow has no answer to is parked: the workflow stays open, with attention,
until a person fixes the cause and sends the update `retry`, or does the step's work by hand and sends `resolve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from workflows.activity_calls import Request, Response, Step, abandon, attempt_locally, start_retrying, step_name
from workflows.attention import Attention
from workflows.parked_step import Decision, ParkedStep

FAILED_BY_HAND: Final = "FAILED_BY_HAND"
"""Stands for a refusal when an activity that is retried without end failed: an operator made it fail."""


class StepRefused(Exception):
    """A service refused the step for a business reason."""

    def __init__(self, refusal: str, message: str) -> None:
        super().__init__(f"{refusal}: {message}")
        self.refusal = refusal


class StepStopped(Exception):
    """A cancellation request stopped the step; whether it took effect is not known."""


class StepResolved(Exception):
    """A person did the step's work by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPolicy:
    """What may end a step besides its success."""

    stoppable: bool
    """Whether a cancellation request does: before the step, while it is retried, and while it is parked."""
    resolvable: bool
    """Whether a person may do its work by hand when it is parked."""
    answers: frozenset[str] = frozenset()
    """The refusals that the workflow has an answer to. Any other parks the step."""

    def answering(self, refusals: Iterable[str]) -> StepPolicy:
        """The same policy for a step whose caller has an answer to these refusals."""
        return replace(self, answers=frozenset(refusals))


STOPPABLE: Final = StepPolicy(stoppable=True, resolvable=False)
"""For steps on the way to PAID."""
SHIELDED: Final = StepPolicy(stoppable=False, resolvable=False)
"""For steps past the pivot, of a refund, and those that find out where the money is."""
RESOLVABLE: Final = StepPolicy(stoppable=False, resolvable=True)
"""For compensations, and what else a person can do by hand."""


class StepRunner:
    """Runs the steps of one workflow, one after the other.

    Args:
        attention: raised for a step that keeps failing.
        parked: where a refused step waits.
        attention_after: seconds for which a step fails until it raises attention.
        is_cancelled: whether there is a cancellation request.
    """

    def __init__(
        self, attention: Attention, parked: ParkedStep, *, attention_after: float, is_cancelled: Callable[[], bool]
    ) -> None:
        self._attention = attention
        self._parked = parked
        self._attention_after = timedelta(seconds=attention_after)
        self._is_cancelled = is_cancelled

    async def run(
        self, step: Step[Request, Response], request: Request, *, summary: str, policy: StepPolicy
    ) -> Response:
        """Run the step until it succeeds, or until its policy lets something else end it.

        Raises:
            StepRefused: for one of `policy.answers`.
            StepStopped: there is a cancellation request, and the policy lets it stop the step.
            StepResolved: a person did its work by hand, which the policy lets them.
        """

        def is_stopped() -> bool:
            return policy.stoppable and self._is_cancelled()

        while not is_stopped():
            try:
                return await self._attempt(step, request, summary=summary, is_stopped=is_stopped)
            except StepRefused as refused:
                if refused.refusal in policy.answers:
                    raise
                note = f"refused: {refused}"
            decision = await self._parked.wait(step_name(step), note, resolvable=policy.resolvable, or_until=is_stopped)
            if decision is Decision.RESOLVE:
                raise StepResolved(step_name(step))
        raise StepStopped(step_name(step))

    async def run_or_resolve(self, step: Step[Request, None], request: Request, *, summary: str) -> None:
        """Run a step without an answer until it is done, be it by hand."""
        with suppress(StepResolved):
            await self.run(step, request, summary=summary, policy=RESOLVABLE)

    async def _attempt(
        self, step: Step[Request, Response], request: Request, *, summary: str, is_stopped: Callable[[], bool]
    ) -> Response:
        """Once as a local activity, which costs one event; then as a normal one, which the Web UI shows."""
        try:
            return await attempt_locally(step, request, summary=summary)
        except FailureError as error:
            _raise_refusal(error)
            first_error = _describe(error)
        if is_stopped():
            raise StepStopped(step_name(step))
        handle = start_retrying(step, request, summary=summary)

        def is_over() -> bool:
            return handle.done() or is_stopped()

        try:
            await workflow.wait_condition(
                is_over, timeout=self._attention_after, timeout_summary=f"attention for {step_name(step)}"
            )
        except TimeoutError:
            note = f"has failed for {self._attention_after.total_seconds():g} s: {first_error}"
            await self._attention.hold(step_name(step), note, until=is_over)
        if not handle.done():
            await abandon(handle)
            raise StepStopped(step_name(step))
        try:
            return await handle
        except FailureError as error:
            _raise_refusal(error)
            raise StepRefused(FAILED_BY_HAND, _describe(error)) from None


def _cause(error: FailureError) -> BaseException:
    """What the step raised: a failed local activity raises it bare, a normal one inside an `ActivityError`."""
    return (error.cause or error) if isinstance(error, ActivityError) else error


def _describe(error: FailureError) -> str:
    """The error in words for people."""
    cause = _cause(error)
    return cause.message if isinstance(cause, FailureError) else str(cause)


def _raise_refusal(error: FailureError) -> None:
    """Raise what a service refused; return if the error is temporary."""
    cause = _cause(error)
    if isinstance(cause, ApplicationError) and cause.non_retryable and cause.type:
        raise StepRefused(cause.type, cause.message) from None
