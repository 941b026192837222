"""Which types of Stripe's events are handled: those that a webhook endpoint of ours has to be given."""

from __future__ import annotations

from typing import Final

CHARGE_FAILED: Final = "payment_intent.payment_failed"
AUTHENTICATION_FAILED: Final = "payment_intent_authentication_failure"
"""Code of the intent's error in such an event, when the customer failed at their bank: nothing was charged.

https://docs.stripe.com/error-codes#payment-intent-authentication-failure
"""
HANDLED_EVENT_TYPES: Final = (
    "payment_intent.succeeded",
    CHARGE_FAILED,
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
"""Events worth a re-read; whatever else comes of ours only repeats what one of these says."""

REFUND_TYPES: Final = "refund."
DISPUTE_TYPES: Final = "charge.dispute."
"""What the types begin with whose objects have no metadata of ours when they were made at Stripe's side."""
