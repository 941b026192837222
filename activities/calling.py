"""How an activity calls a service: as a service, within its own time, with refusals mapped once."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypeVar

import grpc
import grpc.aio
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.stuck_steps import SERVICE_UNAVAILABLE
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

Request = TypeVar("Request")
Response = TypeVar("Response")

MARGIN: Final = 0.5
"""Seconds kept for the way back, so that a slow service shows as its own error and not as the activity's timeout."""

MAX_WORDS: Final = 300
"""Characters of a service's message that go into histories."""
_NO_CONNECTION: Final = (
    "connections to all backends failing",
    "failed to connect to all addresses",
    "errors resolving",
)
"""What gRPC begins with before it names addresses and, at the end, what the operating system or TLS said."""
_STOPPED: Final = ("Cancelling all calls", "Socket closed")


async def call_service(method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
    """Call a service from an activity.

    Raises:
        ApplicationError: not retried, with the refusal as type, when the service refused for a business reason. It is
            benign: expected, and no reason to wake anybody. Retried, of type `SERVICE_UNAVAILABLE`, when the call
            failed for now: once the service may have time for it, where it said when.
    """
    timeout = activity.info().start_to_close_timeout
    assert timeout is not None, "every step has a start-to-close timeout"  # noqa: S101  # set by the step runner
    deadline = timeout.total_seconds() - MARGIN
    try:
        return await call(method, request, caller=SERVICE, deadline=deadline)
    except ServiceUnavailable as problem:
        raise ApplicationError(
            in_words(problem, waited=deadline),
            type=SERVICE_UNAVAILABLE,
            next_retry_delay=None if problem.retry_after is None else timedelta(seconds=problem.retry_after),
        ) from None
    except CallRefused as refused:
        raise ApplicationError(
            refused.message,
            type=refused.refusal.value,
            non_retryable=True,
            category=ApplicationErrorCategory.BENIGN,
        ) from refused


def in_words(problem: ServiceUnavailable, *, waited: float) -> str:
    """Which service could not be asked, and why, for people; `waited` in seconds."""
    message = problem.message
    if problem.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"no answer within {waited:g} s"
    elif problem.code is grpc.StatusCode.UNIMPLEMENTED:
        message = "it does not know this call; is it of another version?"
    elif problem.code is grpc.StatusCode.UNAVAILABLE and message.startswith(_NO_CONNECTION):
        message = f"no connection: {message.rpartition(': ')[2].rstrip(']')}"
    elif problem.code is grpc.StatusCode.UNAVAILABLE and message in _STOPPED:
        message = "the connection broke during the call"
    first_line = message.strip().partition("\n")[0]
    return f"{problem.service} service {problem.code.name}: {first_line[:MAX_WORDS]}"
