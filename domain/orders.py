"""Order states, the arrows between them, and the reasons an order ends without being paid (design §3)."""

# No `from __future__ import annotations`: Temporal's converter would compile each type anew for each value it reads.

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.money import MAX_AMOUNT


class OrderStatus(StrEnum):
    """Where an order stands."""

    RECEIVED = "RECEIVED"
    PENDING = "PENDING"
    PAID = "PAID"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"

    @property
    def is_open(self) -> bool:
        """Whether the saga still has work to do."""
        return self in OPEN_STATUSES


OPEN_STATUSES = frozenset({OrderStatus.RECEIVED, OrderStatus.PENDING})
SOLD_STATUSES = frozenset({OrderStatus.PAID, OrderStatus.PARTIALLY_REFUNDED, OrderStatus.REFUNDED})
"""Those past the pivot: the money came and the stock is sold, whatever was refunded since."""
FINAL_STATUSES = frozenset({OrderStatus.FAILED, OrderStatus.CANCELLED})
"""Those that no order leaves; one that was sold may be refunded, and that be taken back, at any time."""


class Reason(StrEnum):
    """Why an order is FAILED."""

    PRODUCT_NOT_FOUND = "PRODUCT_NOT_FOUND"
    PRODUCT_INACTIVE = "PRODUCT_INACTIVE"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    DISCOUNT_TOO_LARGE = "DISCOUNT_TOO_LARGE"
    """Its discounts come to more than its products and their shipping."""
    PRICE_CHANGED = "PRICE_CHANGED"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    STOCK_LOST = "STOCK_LOST"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    PAYMENT_TIMEOUT = "PAYMENT_TIMEOUT"
    PAYMENT_REJECTED = "PAYMENT_REJECTED"
    PAYMENT_CANCELLED = "PAYMENT_CANCELLED"
    PAYMENT_MISMATCH = "PAYMENT_MISMATCH"
    ACCEPTED_TOO_LATE = "ACCEPTED_TOO_LATE"
    """Its saga could begin only when nobody expected it to be charged any more."""


class CancelledBy(StrEnum):
    """Who ended a CANCELLED order; stands where a FAILED one has its reason."""

    CUSTOMER = "CUSTOMER"
    SUPPORT = "SUPPORT"
    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"
    """Somebody who cancelled the workflow itself, at Temporal."""


ALLOWED_FROM: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.RECEIVED: frozenset(),
    OrderStatus.PENDING: frozenset({OrderStatus.RECEIVED}),
    OrderStatus.PAID: frozenset({OrderStatus.PENDING}),
    OrderStatus.FAILED: OPEN_STATUSES,
    OrderStatus.CANCELLED: OPEN_STATUSES,
}
"""For each status that `OrderSaga` marks, those that an order may leave to reach it."""

REFUND_ARROWS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PAID: frozenset({OrderStatus.PARTIALLY_REFUNDED, OrderStatus.REFUNDED}),
    OrderStatus.PARTIALLY_REFUNDED: SOLD_STATUSES,
    OrderStatus.REFUNDED: SOLD_STATUSES,
}
"""The same for what refunds lead to; back too, because Stripe can take a refund back. One that it took back, of which
we hear only after somebody has given all the money back once more, leads from REFUNDED to REFUNDED."""

EVENT_TYPES: Mapping[OrderStatus, str] = {
    OrderStatus.RECEIVED: "order.received",
    OrderStatus.PENDING: "order.created",
    OrderStatus.PAID: "order.paid",
    OrderStatus.FAILED: "order.failed",
    OrderStatus.CANCELLED: "order.cancelled",
}
"""The event that mirrors the arrival in each status."""

REFUNDED_EVENT = "order.refunded"
REFUND_FAILED_EVENT = "order.refund_failed"
"""The events that mirror a refund of a sold order, and one that Stripe took back."""


GUEST_TOKEN_SECONDS = 30 * 86_400
"""How long a guest may follow their order by a link, from the order's end on at most."""


def refunded_status(*, refunded: int, total: int) -> OrderStatus:
    """Where a sold order stands of whose total so much is refunded, in minor units."""
    if refunded <= 0:
        return OrderStatus.PAID
    return OrderStatus.REFUNDED if refunded >= total else OrderStatus.PARTIALLY_REFUNDED


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A quantity of one product."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line with the price that the product had when the order was quoted, in minor units per unit, and its name."""

    product_id: str
    quantity: int
    unit_price: int
    name: str = ""
    """Empty in histories from before names were kept."""

    @property
    def total(self) -> int:
        """Price of the line in minor units."""
        return self.quantity * self.unit_price


class AdjustmentType(StrEnum):
    """What an order costs, or costs less, besides its products."""

    SHIPPING = "shipping"
    DISCOUNT = "discount"


@dataclass(frozen=True, slots=True)
class PriceAdjustment:
    """A line of an order that is no product: what its shipping costs, or what is taken off.

    Attributes:
        name: as people are shown it.
        amount: minor units, above zero whichever type it is.
    """

    type: AdjustmentType
    name: str
    amount: int

    @property
    def change(self) -> int:
        """What it does to the order's total, minor units."""
        return -self.amount if self.type is AdjustmentType.DISCOUNT else self.amount


def total_change(adjustments: Iterable[PriceAdjustment]) -> int:
    """What adjustments do to an order's total together, minor units: below zero where they make it cheaper."""
    return sum(adjustment.change for adjustment in adjustments)


MAX_LINES = 1_000
MAX_ADJUSTMENTS = 20
MAX_ADJUSTMENT = MAX_ADJUSTMENTS * MAX_AMOUNT
"""Of all adjustments of an order together, either way, minor units."""
MAX_QUANTITY = 10_000
MAX_PAYMENT_WINDOW_SECONDS = 86_400
DEFAULT_PAYMENT_WINDOW_SECONDS = 900
