"""How a saga runs its steps: local first, then retried for as long as it takes, in sight of people when it is long.

A step that is refused for a reason its saga has no answer to is parked: the workflow stays open, with attention, until
somebody mends the cause and sends the update `retry`, or does the work by hand and sends `resolve`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from domain.orders import CancelledBy, OrderStatus
from domain.saga import AttentionRequest
from workflows import story
from workflows.steps import OrderSteps

Request = TypeVar("Request")
Response = TypeVar("Response")
Step = Callable[[Any, Request], Coroutine[Any, Any, Response]]

LOCAL_TIMEOUT: Final = timedelta(seconds=4)
"""Less than half of the default workflow task timeout: signals wait while a local activity runs."""
REMOTE_TIMEOUT: Final = timedelta(seconds=25)
ONCE: Final = RetryPolicy(maximum_attempts=1)
ENDED_BY_HAND: Final = "ENDED_BY_HAND"
"""Stands for a refusal when an activity that is retried for ever failed: an operator made it fail."""
LONGEST_WHY: Final = 1_000
"""Characters of a refusal that are shown to people; the order service takes no more than twice as many."""
UNTIL_DONE: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))


class StepRefused(Exception):
    """A service refused the step for a business reason."""

    def __init__(self, refusal: str, message: str) -> None:
        super().__init__(f"{refusal}: {message}")
        self.refusal = refusal


class OrderEnds(Exception):
    """The order ends here: what was done is undone, then it is marked."""

    def __init__(self, status: OrderStatus, reason: str | None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class Verdict(StrEnum):
    """What a person decided about a parked step."""

    RETRY = "retry"
    RESOLVE = "resolve"


class StepRunner:
    """Runs the steps of one workflow of an order, one after the other.

    Args:
        order_id: whose attention is raised.
        attention_after: seconds after which a step that does not get through raises it.
        about: tells the steps of the order's other workflows from its own saga's; stands behind their names.
    """

    def __init__(self, order_id: str, *, attention_after: float, about: str = "") -> None:
        self._order_id = order_id
        self._attention_after = timedelta(seconds=attention_after)
        self._about = about
        self._verdict: Verdict | None = None
        self.parked: str | None = None
        """The step that waits for a verdict."""
        self.can_resolve = False
        """Whether the parked step may be skipped."""
        self.cancelled_by: CancelledBy | None = None
        """Who wants the order cancelled. Looked at between forward steps, and while one of them is retried."""

    async def forward(
        self, step: Step[Request, Response], request: Request, *, summary: str, refusals: frozenset[str] = frozenset()
    ) -> Response:
        """Run a step towards PAID; a wish to cancel ends it.

        Raises:
            StepRefused: for one of `refusals`; any other parks the step.
            OrderEnds: CANCELLED, when somebody wants that; whether the step took effect is then not known.
        """
        while True:
            self._stop_if_cancelled()
            try:
                return await self._attempt(step, request, summary=summary, can_stop=True)
            except StepRefused as refused:
                if refused.refusal in refusals:
                    raise
                await self._park(step, refused, can_stop=True)

    async def finish(
        self, step: Step[Request, Response], request: Request, *, summary: str, refusals: frozenset[str] = frozenset()
    ) -> Response:
        """Run a step that nothing stops: past the pivot, or to find out where the money is.

        Raises:
            StepRefused: for one of `refusals`; any other parks the step.
        """
        while True:
            try:
                return await self._attempt(step, request, summary=summary, can_stop=False)
            except StepRefused as refused:
                if refused.refusal in refusals:
                    raise
                await self._park(step, refused, can_stop=False)

    async def undo(self, step: Step[str, None], *, summary: str) -> None:
        """Run a compensation of the order until it is done, or a person says that it was done by hand."""
        await self.finish_or_resolve(step, self._order_id, summary=summary)

    async def finish_or_resolve(self, step: Step[Request, None], request: Request, *, summary: str) -> None:
        """Run a step that nothing stops until it is done, or a person says that it was done by hand."""
        while True:
            try:
                return await self._attempt(step, request, summary=summary, can_stop=False)
            except StepRefused as refused:
                if await self._park(step, refused, can_stop=False, can_resolve=True) is Verdict.RESOLVE:
                    return None

    async def ask(
        self, step: Step[Any, Any], why: str, *, can_resolve: bool, news: Callable[[], bool]
    ) -> Verdict | None:
        """Ask for a person's verdict on a step; None when there were news first."""
        self.parked, self.can_resolve, self._verdict = _name(step), can_resolve, None
        await self._hold_attention(step, why, lambda: self._verdict is not None or news())
        self.parked = None
        return self._verdict

    async def raise_attention(self, subject: str, why: str) -> None:
        """Ask for people's attention until it is cleared; what asks already stays as it is."""
        story.tell_attention(subject, why)
        await _end(self._start_attention(subject, why))

    async def clear_attention(self, subject: str) -> None:
        """It is over."""
        story.tell_attention_over()
        await _end(self._start_attention(subject, None))

    def wish_cancelled(self, cancelled_by: CancelledBy) -> None:
        """Let the order end CANCELLED if nothing else ends it first; the first wish stands."""
        self.cancelled_by = self.cancelled_by or cancelled_by

    def check_verdict(self, verdict: Verdict) -> None:
        """Raise ValueError unless a person may say this now: there has to be a parked step."""
        if self.parked is None:
            raise ValueError(f"no step is parked; nothing to {verdict}")
        if verdict is Verdict.RESOLVE and not self.can_resolve:
            raise ValueError(f"step {self.parked} cannot be done by hand; mend its cause and send retry")

    def decide_parked(self, verdict: Verdict) -> str:
        """Say what becomes of the parked step; answers with its name."""
        self._verdict = verdict
        return self.parked or ""

    async def _attempt(
        self, step: Step[Request, Response], request: Request, *, summary: str, can_stop: bool
    ) -> Response:
        """Once as a local activity, which costs one event; then as a normal one, which shows in the Web UI."""
        try:
            return await workflow.execute_local_activity_method(
                step, request, start_to_close_timeout=LOCAL_TIMEOUT, retry_policy=ONCE, summary=summary
            )
        except FailureError as error:
            _raise_refusal(error)
        if can_stop:
            self._stop_if_cancelled()
        return await self._retry(step, request, summary=summary, can_stop=can_stop)

    async def _retry(
        self, step: Step[Request, Response], request: Request, *, summary: str, can_stop: bool
    ) -> Response:
        handle = workflow.start_activity_method(
            step, request, start_to_close_timeout=REMOTE_TIMEOUT, retry_policy=UNTIL_DONE, summary=summary
        )

        def is_over() -> bool:
            return handle.done() or (can_stop and self.cancelled_by is not None)

        try:
            await workflow.wait_condition(
                is_over, timeout=self._attention_after, timeout_summary=f"attention for {_name(step)}"
            )
        except TimeoutError:
            await self._hold_attention(step, f"does not get through since {self._attention_after}", is_over)
        if not handle.done():
            await _abandon(handle)
            self._stop_if_cancelled()
        try:
            return await handle
        except FailureError as error:
            _raise_refusal(error)
            raise StepRefused(ENDED_BY_HAND, str(error.cause or error)) from None

    async def _park(
        self, step: Step[Any, Any], refused: StepRefused, *, can_stop: bool, can_resolve: bool = False
    ) -> Verdict:
        """Wait for a person's verdict on a refused step."""
        self.parked, self.can_resolve, self._verdict = _name(step), can_resolve, None

        def is_over() -> bool:
            return self._verdict is not None or (can_stop and self.cancelled_by is not None)

        await self._hold_attention(step, f"refused: {refused}", is_over)
        self.parked = None
        if self._verdict is None:
            self._stop_if_cancelled()
        return self._verdict or Verdict.RETRY

    def _stop_if_cancelled(self) -> None:
        if self.cancelled_by is not None:
            raise OrderEnds(OrderStatus.CANCELLED, self.cancelled_by)

    async def _hold_attention(self, step: Step[Any, Any], why: str, is_over: Callable[[], bool]) -> None:
        """Keep people's attention on a step until it is over."""
        why = why[:LONGEST_WHY]
        story.tell_attention(_name(step), why)
        raised = self._start_attention(_name(step), why)
        await workflow.wait_condition(is_over)
        await _end(raised)  # else the clearing could overtake it, and attention would stay for good
        await self.clear_attention(_name(step))

    def _start_attention(self, subject: str, why: str | None) -> workflow.ActivityHandle[None]:
        step = f"{subject} {self._about}" if self._about else subject
        return workflow.start_activity_method(
            OrderSteps.attention,
            AttentionRequest(order_id=self._order_id, step=step, why=why),
            start_to_close_timeout=REMOTE_TIMEOUT,
            retry_policy=UNTIL_DONE,
            summary=f"attention: {subject}",
        )


async def _end(attention: workflow.ActivityHandle[None]) -> None:
    """Wait for it; that it failed, because an operator made it, is no reason to end an order."""
    with suppress(FailureError):
        await attention


async def _abandon(handle: workflow.ActivityHandle[Any]) -> None:
    """Stop retrying; whether the activity took effect is not known."""
    handle.cancel()
    with suppress(FailureError, asyncio.CancelledError):
        await handle


def _name(step: Step[Any, Any]) -> str:
    return getattr(step, "__name__", str(step))


def _raise_refusal(error: FailureError) -> None:
    """Raise what a service refused; return for trouble that passes.

    A failed local activity raises its `ApplicationError` bare, a normal one inside an `ActivityError`.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError) and cause.non_retryable and cause.type:
        raise StepRefused(cause.type, cause.message) from None
