"""How an order ends without being paid, and which refusals end it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.orders import CancelledBy, OrderStatus, Reason
from domain.refusals import Refusal

ENDS_THE_ORDER: Final[Mapping[str, Reason]] = {
    **{reason.value: reason for reason in Reason},
    # Tombstones: the order was being undone when its worker died, before the history said for which reason.
    Refusal.RESERVATION_RELEASED.value: Reason.STOCK_LOST,
    Refusal.PAYMENT_VOIDED.value: Reason.PAYMENT_CANCELLED,
    # Its payment was opened at another price, before the worker died or the workflow was terminated.
    Refusal.PAYMENT_DIFFERS.value: Reason.PRICE_CHANGED,
}
"""The refusals of steps on the way to PAID that the saga has an answer to: the order FAILS for that reason."""


@dataclass(frozen=True, slots=True)
class Ending:
    """FAILED with its reason, or CANCELLED with who asked for it."""

    status: OrderStatus
    reason: str | None

    @classmethod
    def failed(cls, reason: Reason) -> Ending:
        """The order cannot be sold."""
        return cls(OrderStatus.FAILED, reason)

    @classmethod
    def cancelled(cls, cancelled_by: CancelledBy | None) -> Ending:
        """Somebody asked for its cancellation."""
        return cls(OrderStatus.CANCELLED, cancelled_by)


class OrderEnds(Exception):
    """The order ends here: what was done is undone, then it is marked."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.status, ending.reason)
        self.ending = ending
