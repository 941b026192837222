"""Which of Stripe's events tell us something: those that a webhook endpoint of ours has to be given."""

from __future__ import annotations

from typing import Final

TELLING_TYPES: Final = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.canceled",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
)
"""Events worth a re-read; whatever else comes of ours only repeats what one of these tells."""

REFUND_TYPES: Final = "refund."
DISPUTE_TYPES: Final = "charge.dispute."
"""What the types begin with whose objects have no metadata of ours when they were made at Stripe's side."""
