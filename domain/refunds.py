"""Refunds and disputes of a payment: where they stand, and where they come from (design §3 and §4)."""

from __future__ import annotations

from enum import StrEnum


class RefundStatus(StrEnum):
    """Where a refund stands: REQUESTED, RESOLVED and REPLACED are our words, the rest is Stripe's."""

    REQUESTED = "REQUESTED"
    """Reserved from the payment; Stripe does not have it yet."""
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    """Stripe can take this back: a bank that refuses the money makes it FAILED days later."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    RESOLVED = "RESOLVED"
    """It had failed, and a person says that it is dealt with."""
    REPLACED = "REPLACED"
    """It had failed, and another refund was made in its place."""

    @classmethod
    def _missing_(cls, value: object) -> RefundStatus | None:
        """Stripe's spelling of CANCELLED was ours until 0.2, and stands in histories."""
        return cls.CANCELLED if value == "CANCELED" else None

    @property
    def is_live(self) -> bool:
        """Whether its money is given back, or on its way: it cannot be given back a second time."""
        return self in (RefundStatus.REQUESTED, RefundStatus.PENDING, RefundStatus.SUCCEEDED)

    @property
    def has_failed(self) -> bool:
        """Whether it needs a person: its money stayed here."""
        return self in (RefundStatus.FAILED, RefundStatus.CANCELLED)


class RefundOrigin(StrEnum):
    """Why there is a refund."""

    ADMIN = "ADMIN"
    """Asked for over the API."""
    VOID = "VOID"
    """Due because the order ended without being paid, and the money had come."""
    STRIPE = "STRIPE"
    """Made at Stripe's side, and adopted."""


class DisputeStatus(StrEnum):
    """Where a customer's dispute with their bank stands, in Stripe's words; WARNING is an inquiry, without money."""

    WARNING_NEEDS_RESPONSE = "WARNING_NEEDS_RESPONSE"
    WARNING_UNDER_REVIEW = "WARNING_UNDER_REVIEW"
    WARNING_CLOSED = "WARNING_CLOSED"
    NEEDS_RESPONSE = "NEEDS_RESPONSE"
    UNDER_REVIEW = "UNDER_REVIEW"
    WON = "WON"
    LOST = "LOST"
    PREVENTED = "PREVENTED"

    @property
    def is_open(self) -> bool:
        """Whether it can still end either way; no refund is made meanwhile."""
        return self not in (
            DisputeStatus.WARNING_CLOSED,
            DisputeStatus.WON,
            DisputeStatus.LOST,
            DisputeStatus.PREVENTED,
        )
