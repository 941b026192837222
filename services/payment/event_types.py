"""Which of Stripe's events tell us something: those that a webhook endpoint of ours has to be given."""

from __future__ import annotations

from typing import Final

TELLING_TYPES: Final = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.canceled",
    "refund.updated",
    "refund.failed",
)
"""Events worth a re-read; whatever else comes of ours only repeats what one of these tells."""
