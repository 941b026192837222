"""How the doubles of the steps refuse: as the real activities do, by name and not to be retried."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.refusals import Refusal


def refused(refusal: Refusal, message: str) -> ApplicationError:
    """The error of a step that its service refuses for a business reason."""
    return ApplicationError(message, type=refusal.value, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
