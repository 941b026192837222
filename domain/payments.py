"""Payment states, as the payment service's last re-read of the provider's intent gave them (design §3)."""

from __future__ import annotations

from enum import StrEnum


class PaymentStatus(StrEnum):
    """Status of a payment. Only SUCCEEDED and CANCELLED absorb."""

    OPENING = "OPENING"
    REQUIRES_PAYMENT_METHOD = "REQUIRES_PAYMENT_METHOD"
    REQUIRES_ACTION = "REQUIRES_ACTION"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether no later event can change it."""
        return self in (PaymentStatus.SUCCEEDED, PaymentStatus.CANCELLED)
