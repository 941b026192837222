"""The two ways in which a workflow calls an activity: one short local attempt, or retried until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

from domain.saga import payment_queue
from workflows.steps import may_ask_stripe

Request = TypeVar("Request")
Response = TypeVar("Response")
Step = Callable[[Any, Request], Coroutine[Any, Any, Response]]
"""A method of one of the classes in `workflows.steps`."""

LOCAL_TIMEOUT: Final = timedelta(seconds=4)
"""Less than half of the default workflow task timeout: signals wait while a local activity runs."""
REMOTE_TIMEOUT: Final = timedelta(seconds=25)
ONCE: Final = RetryPolicy(maximum_attempts=1)
UNTIL_DONE: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))


def step_name(step: Step[Any, Any]) -> str:
    """The name by which people know the step: its activity's."""
    return getattr(step, "__name__", str(step))


async def attempt_locally(step: Step[Request, Response], request: Request, *, summary: str) -> Response:
    """Run the step once as a local activity, which costs one event.

    Raises:
        FailureError: it failed. An `ApplicationError` that the step raised arrives bare.
    """
    return await workflow.execute_local_activity_method(
        step, request, start_to_close_timeout=LOCAL_TIMEOUT, retry_policy=ONCE, summary=summary
    )


def start_retrying(
    step: Step[Request, Response], request: Request, *, summary: str
) -> workflow.ActivityHandle[Response]:
    """Start the step as a normal activity, which the Web UI lists as pending with its attempts and last error.

    One that may ask Stripe waits in a task queue of its own, so that no other step waits for Stripe as well. A replay
    does not compare queues: histories from before there was this one replay.

    Awaiting the handle raises an `ActivityError` if the step raised an error that is not retried.
    """
    queue = workflow.info().task_queue
    return workflow.start_activity_method(
        step,
        request,
        task_queue=payment_queue(queue) if may_ask_stripe(step, request) else queue,
        start_to_close_timeout=REMOTE_TIMEOUT,
        retry_policy=UNTIL_DONE,
        summary=summary,
    )


async def abandon(handle: workflow.ActivityHandle[Any]) -> None:
    """Stop retrying; whether the activity took effect is not known."""
    handle.cancel()
    with suppress(FailureError, asyncio.CancelledError):
        await handle
