"""What came of one attempt at a step, and errors in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.exceptions import TimeoutError as TimedOut

from domain.stuck_steps import SERVICE_UNAVAILABLE

Response = TypeVar("Response", covariant=True)

FAILED_BY_HAND: Final = "FAILED_BY_HAND"
"""Stands for a refusal when an activity that is retried without end failed: an operator made it fail."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Response]):
    """It took effect."""

    answer: Response


@dataclass(frozen=True, slots=True)
class Refused:
    """A service refused it for a business reason."""

    refusal: str
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It failed for now, or its answer was lost: whether it took effect is not known."""

    message: str


Outcome = Done[Response] | Refused | Failed


def outcome_of_attempt(error: FailureError) -> Refused | Failed:
    """What came of a step that was attempted once."""
    return _refusal_in(error) or Failed(_in_words(error))


def outcome_of_retries(error: FailureError) -> Refused:
    """What came of a step that was retried until it was refused, or until somebody had enough of it."""
    return _refusal_in(error) or Refused(FAILED_BY_HAND, _in_words(error))


def _cause(error: FailureError) -> BaseException:
    """What the step raised: a failed local activity raises it bare, a normal one inside an `ActivityError`."""
    return (error.cause or error) if isinstance(error, ActivityError) else error


def _refusal_in(error: FailureError) -> Refused | None:
    """What a service refused; None if the error is temporary."""
    cause = _cause(error)
    if isinstance(cause, ApplicationError) and cause.non_retryable and cause.type:
        return Refused(cause.type, cause.message)
    return None


def _in_words(error: FailureError) -> str:
    """The error for people. One that no service reported is a defect of the step itself, so its type is named."""
    cause = _cause(error)
    if isinstance(cause, TimedOut):
        return "no answer in time"
    if isinstance(cause, ApplicationError) and cause.type not in (None, SERVICE_UNAVAILABLE):
        return f"{cause.type}: {cause.message}"
    return cause.message if isinstance(cause, FailureError) else str(cause)
