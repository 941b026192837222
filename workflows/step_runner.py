"""How a workflow runs its steps: local first, then retried for as long as it takes, with attention if that is long.

A step that is refused for a reason its workflow has no answer to is parked: the workflow stays open, with attention,
until a person fixes the cause and sends the update `retry`, or does the step's work by hand and sends `resolve`. One
that keeps failing needs neither; `retry` spares it the wait for its next attempt. Both are answered with what came of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Generic

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows.activity_calls import Request, Response, Step, abandon, attempt_locally, start_retrying, step_name
from workflows.attention import Attention, HeldAttention
from workflows.step_outcome import Done, Failed, Outcome, Refused, outcome_of_attempt, outcome_of_retries
from workflows.stuck_step import Remedy, StuckStep


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
        attention: raised for a step that keeps failing or is parked.
        stuck: what people ask for such a step.
        attention_after: seconds for which a step fails until it raises attention.
        is_cancelled: whether there is a cancellation request.
    """

    def __init__(
        self, attention: Attention, stuck: StuckStep, *, attention_after: float, is_cancelled: Callable[[], bool]
    ) -> None:
        self._attention = attention
        self._stuck = stuck
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

        call = _Call(step, request, summary)
        if is_stopped():
            raise StepStopped(call.name)
        outcome = await self._attempt(call)
        while not isinstance(outcome, Done):
            if isinstance(outcome, Failed):
                outcome = await self._keep_trying(call, outcome, is_stopped)
            elif outcome.refusal in policy.answers:
                raise StepRefused(outcome.refusal, outcome.message)
            else:
                outcome = await self._park(call, outcome, policy, is_stopped)
        return outcome.answer

    async def run_or_resolve(self, step: Step[Request, None], request: Request, *, summary: str) -> None:
        """Run a step without an answer until it is done, be it by hand."""
        with suppress(StepResolved):
            await self.run(step, request, summary=summary, policy=RESOLVABLE)

    async def _attempt(self, call: _Call[Request, Response]) -> Outcome[Response]:
        """Once, as a local activity, which costs one event; whoever waits for what comes of a retry is told."""
        outcome: Outcome[Response]
        try:
            outcome = Done(await attempt_locally(call.step, call.request, summary=call.summary))
        except FailureError as error:
            outcome = outcome_of_attempt(error)
        self._stuck.answer(call.name, outcome)
        return outcome

    async def _keep_trying(
        self, call: _Call[Request, Response], failed: Failed, is_stopped: Callable[[], bool]
    ) -> Outcome[Response]:
        """Have it retried as a normal activity, which the Web UI shows, until that is over or was refused.

        A person who sends `retry` spares it the back-off: it is attempted at once in the activity's place.

        Raises:
            StepStopped: there is a cancellation request.
        """
        if is_stopped():
            raise StepStopped(call.name)
        began, held = workflow.now(), None
        self._stuck.keep_trying(call.name)
        while True:
            activity = start_retrying(call.step, call.request, summary=call.summary)

            def is_over(activity: workflow.ActivityHandle[Response] = activity) -> bool:
                return activity.done() or is_stopped() or self._stuck.remedy is not None

            held = await self._watch(call, failed, is_over, began=began, held=held)
            if activity.done() or is_stopped():
                break
            self._stuck.take()
            await abandon(activity)
            outcome = await self._attempt(call)
            if not isinstance(outcome, Failed):
                return await self._leave(held, outcome)
            failed = outcome
            if held is not None:
                held.change(self._note(failed))
        await self._leave(held, failed)
        if not activity.done():
            await abandon(activity)
            self._stuck.answer_stopped(call.name)
            raise StepStopped(call.name)
        try:
            outcome = Done(await activity)
        except FailureError as error:
            outcome = outcome_of_retries(error)
        self._stuck.answer(call.name, outcome)
        return outcome

    async def _watch(
        self,
        call: _Call[Request, Response],
        failed: Failed,
        is_over: Callable[[], bool],
        *,
        began: datetime,
        held: HeldAttention | None,
    ) -> HeldAttention | None:
        """Wait until it is over; with attention, from when that is due."""
        if held is None:
            try:
                await workflow.wait_condition(
                    is_over,
                    timeout=max(self._attention_after - (workflow.now() - began), timedelta()),
                    timeout_summary=f"attention for {call.name}",
                )
            except TimeoutError:
                held = self._attention.hold(call.name, self._note(failed))
            else:
                return None
        await workflow.wait_condition(is_over)
        return held

    async def _park(
        self, call: _Call[Request, Response], refused: Refused, policy: StepPolicy, is_stopped: Callable[[], bool]
    ) -> Outcome[Response]:
        """Wait with attention until somebody frees it: `retry` attempts it again, and it stays parked if refused again.

        Raises:
            StepStopped: there is a cancellation request.
            StepResolved: a person did its work.
        """
        outcome: Outcome[Response] = refused
        self._stuck.park(call.name, resolvable=policy.resolvable)
        held = self._attention.hold(call.name, _note(refused))
        remedy = None
        while isinstance(outcome, Refused) and outcome.refusal not in policy.answers:
            await workflow.wait_condition(lambda: self._stuck.remedy is not None or is_stopped())
            remedy = self._stuck.take()
            if remedy is not Remedy.RETRY or is_stopped() or not self._stuck.is_awaited:
                break
            outcome = await self._attempt(call)
            if isinstance(outcome, Refused):
                held.change(_note(outcome))
        else:
            return await self._leave(held, outcome)
        await self._leave(held, outcome)
        if remedy is Remedy.RESOLVE:
            self._stuck.answer_resolved(call.name)
            raise StepResolved(call.name)
        if is_stopped():
            self._stuck.answer_stopped(call.name)
            raise StepStopped(call.name)
        return await self._attempt(call)

    async def _leave(self, held: HeldAttention | None, outcome: Outcome[Response]) -> Outcome[Response]:
        """The step is not stuck any more."""
        self._stuck.leave()
        if held is not None:
            await held.clear()
        return outcome

    def _note(self, failed: Failed) -> str:
        return f"has failed for {self._attention_after.total_seconds():g} s: {failed.message}"


@dataclass(frozen=True, slots=True)
class _Call(Generic[Request, Response]):
    """A step with what it is called with."""

    step: Step[Request, Response]
    request: Request
    summary: str

    @property
    def name(self) -> str:
        return step_name(self.step)


def _note(refused: Refused) -> str:
    return f"refused: {refused.refusal}: {refused.message}"
