"""How an activity calls a service: as a service, within its own time, with refusals mapped once."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypeVar

import grpc
import grpc.aio
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.local_slots import LocalSlots
from domain.refusals import Refusal
from domain.stuck_steps import SERVICE_UNAVAILABLE, WAITS_FOR_STRIPE
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

Request = TypeVar("Request")
Response = TypeVar("Response")
AsksStripe = TypeVar(
    "AsksStripe",
    pb.OpenPaymentRequest,
    pb.CheckPaymentRequest,
    pb.ClosePaymentRequest,
    pb.VoidPaymentRequest,
    pb.CarryOutRefundRequest,
    pb.CheckDisputeRequest,
)

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
            failed for now, once the service may have time for it, where it said when; of type `WAITS_FOR_STRIPE` when
            it was made without Stripe, which it needs.
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
        waits = refused.refusal is Refusal.PAYMENT_NEEDS_STRIPE
        raise ApplicationError(
            refused.message,
            type=WAITS_FOR_STRIPE if waits else refused.refusal.value,
            non_retryable=not waits,
            category=ApplicationErrorCategory.BENIGN,
        ) from refused


class StripeCalls:
    """How a step calls the payment service that may have to ask Stripe.

    A local attempt without a slot is made all the same, but without Stripe: what has an answer in the payment service's
    own tables is done, however slow Stripe is, and anything else fails at once and is retried in the payment queue.

    Args:
        slots: of this process, for local attempts.
    """

    def __init__(self, slots: LocalSlots) -> None:
        self._slots = slots

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[AsksStripe, Response],
        request: AsksStripe,
        *,
        may_ask: bool = True,
    ) -> Response:
        """Call it; the request's `without_stripe` is set here.

        Args:
            method: of the payment service.
            request: what it is called with.
            may_ask: false where the request itself tells that Stripe is not asked.

        Raises:
            ApplicationError: as `call_service` does.
        """
        if not may_ask or not activity.info().is_local:
            return await call_service(method, request)
        with self._slots.take() as has_slot:
            request.without_stripe = not has_slot
            return await call_service(method, request)


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
