"""Spans of workflows and their steps, by the Temporal SDK's own interceptor, and what a failed step says in the log.

The interceptor is safe for replays: it makes no span while a history is replayed, and a span of workflow code has no
duration. The context goes in the header of the workflow's start, and of each signal and update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from runtime import tracing
from runtime.refusal import Unavailable

log = structlog.stdlib.get_logger(__name__)


def client_interceptors() -> Sequence[ClientInterceptor]:
    """Those of a client, and of the worker that is made with it."""
    if not tracing.is_on():
        return ()
    from temporalio.contrib.opentelemetry import TracingInterceptor  # costs imports

    return (TracingInterceptor(tracing.tracer()),)


class StepLog(Interceptor):
    """Notes at which order a step works, and logs one that failed: by one line, if it will be tried again."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's
        return _LoggedSteps(next)


class _LoggedSteps(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's
        info = activity.info()
        tracing.note_order(info.workflow_id)
        if input.args and not isinstance(input.args[0], str):  # a string may as well be a refund's id
            tracing.note_order(input.args[0])
        try:
            return await super().execute_activity(input)
        except ApplicationError:
            raise  # the service refused, and the workflow has an answer to that
        except Unavailable as problem:
            log.warning("step.failed", step=info.activity_type, attempt=info.attempt, problem=str(problem))
            raise
        except Exception:
            log.exception("step.broken", step=info.activity_type, attempt=info.attempt)
            raise
