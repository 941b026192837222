"""How an activity calls a service: as a service, within its own time, with refusals mapped once."""

from __future__ import annotations

from typing import Final, TypeVar

import grpc.aio
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import call

Request = TypeVar("Request")
Response = TypeVar("Response")

MARGIN: Final = 0.5
"""Seconds kept for the way back, so that a slow service shows as its own error and not as the activity's timeout."""


async def call_service(method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
    """Call a service from an activity.

    Raises:
        ApplicationError: not retried, with the refusal as type, when the service refused for a business reason. It is
            benign: expected, and no reason to wake anybody.
        ServiceUnavailable: a temporary failure; Temporal retries the activity.
    """
    timeout = activity.info().start_to_close_timeout
    assert timeout is not None, "every step has a start-to-close timeout"  # noqa: S101  # set by the step runner
    try:
        return await call(method, request, caller=SERVICE, deadline=timeout.total_seconds() - MARGIN)
    except CallRefused as refused:
        raise ApplicationError(
            refused.message,
            type=refused.refusal.value,
            non_retryable=True,
            category=ApplicationErrorCategory.BENIGN,
        ) from refused
