"""What a person can do about a step that is parked or keeps failing, and what they are answered.

Like all of `domain.saga` this is stored in workflow histories: a field may be added with a default, never renamed.
"""

# No `from __future__ import annotations`: Temporal's converter would compile each type anew for each value it reads.

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RETRY_UPDATE: Final = "retry"
RESOLVE_UPDATE: Final = "resolve"

SERVICE_UNAVAILABLE: Final = "ServiceUnavailable"
"""Type of the error of a step whose service is away, slow or broken; its message is in words for people."""
WAITS_FOR_STRIPE: Final = "WaitsForStripe"
"""Type of the error of a local attempt that found no free slot, and would have had to ask Stripe: it goes on in the
payment queue."""


class StepOutcome(StrEnum):
    """What came of what a person did about a step that was parked or kept failing."""

    DONE = "DONE"
    """It took effect; the workflow has gone on."""
    RESOLVED = "RESOLVED"
    """Its work was done by hand; the workflow has gone on."""
    REFUSED = "REFUSED"
    """It was refused again: it is parked until the cause is fixed, unless its workflow has an answer to the refusal."""
    FAILED = "FAILED"
    """It failed again: it is tried again by itself."""
    STOPPED = "STOPPED"
    """A cancellation request ended it first."""
    UNKNOWN = "UNKNOWN"
    """The workflow is of a version that did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who sends `retry` or `resolve`, and why; shown in the Web UI, and stored in the history."""

    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer:
    """The answer to `retry` and `resolve`."""

    step: str
    """The step that was attempted; of a failed refund, the one that replaces or resolves it."""
    outcome: StepOutcome
    refusal: str | None = None
    """The name of the refusal, where it was refused."""
    message: str | None = None
    """Why, in words, where it was refused or failed."""
