"""Measures the steps of the sagas where they run: how long each attempt takes, how it ends, and what it was for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.stuck_steps import WAITS_FOR_STRIPE
from runtime.metrics import CLOCK_SKEW_SECONDS, COMPENSATIONS, STEP_SECONDS
from workflows.activity_calls import step_name
from workflows.order_saga import UNDO

_UNDOING: Final = frozenset(step_name(step) for step, _ in UNDO)


class MeasuredSteps(Interceptor):
    """For a worker: each activity of its workflows is a step."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - theirs
        """Measure what `next` runs."""
        return _Measured(next)


class _Measured(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name
        info = activity.info()
        step, began, outcome = info.activity_type, perf_counter(), "failed"
        if not info.is_local:
            _compare_clocks(info.started_time)
        try:
            answer = await super().execute_activity(input)
            outcome = "succeeded"
            if step in _UNDOING:
                COMPENSATIONS.labels(step).inc()
            return answer
        except ApplicationError as error:
            if error.non_retryable:
                outcome = "refused"
            elif error.type == WAITS_FOR_STRIPE:
                outcome = "deferred"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            STEP_SECONDS.labels(step, outcome).observe(perf_counter() - began)


def _compare_clocks(started_at: datetime) -> None:
    """Temporal says when it gave us the task, which was a moment ago."""
    CLOCK_SKEW_SECONDS.labels("temporal").set((datetime.now(UTC) - started_at).total_seconds())
