"""What the order service speaks of: requests, orders, transitions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime

from domain.orders import OrderLine, OrderStatus, PricedLine, refunded_status
from domain.saga import OrderInput, SagaPolicy
from runtime.fingerprint import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A postal address."""

    name: str
    line1: str
    line2: str
    city: str
    postal_code: str
    country: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """What a customer asks for; lines are sorted by product."""

    user_id: str
    lines: list[OrderLine]
    currency: str
    shipping_address: Address
    payment_method: str | None
    expected_total: int | None
    payment_window_seconds: int

    @property
    def fingerprint(self) -> str:
        """What tells it from another request, see `runtime.fingerprint`."""
        return fingerprint(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderItem:
    """So many pieces of one product; the price in minor units once the order is quoted."""

    product_id: str
    quantity: int
    unit_price: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One arrow of an order's history."""

    seq: int
    from_status: OrderStatus | None
    to_status: OrderStatus
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it stands, with its history; `refunded` in minor units, given back so far."""

    id: str
    user_id: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    refunded: int
    items: list[OrderItem]
    shipping_address: Address
    payment_id: str | None
    payment_deadline: datetime | None
    created_at: datetime
    transitions: list[Transition]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSummary:
    """An order as it stands in a list: without items, address and history; `refunded` as in an order."""

    id: str
    user_id: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    refunded: int
    line_count: int
    created_at: datetime
    payment_deadline: datetime | None
    payment_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders a list shows; None for all of that kind. `before` is an id: newest first, ids rise with time."""

    user_id: str | None
    status: OrderStatus | None
    before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A transition to be applied. `cause_id` names the step: a repeat of it is the same transition."""

    order_id: str
    cause_id: str
    to_status: OrderStatus
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundNews:
    """What became of a refund of an order. `version` numbers the refund's changes; `amount` in minor units."""

    order_id: str
    refund_id: str
    amount: int
    succeeded: bool
    version: int

    @property
    def cause_id(self) -> str:
        """Names it as the cause of a transition."""
        return f"refund:{self.refund_id}:{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRefund:
    """What an order was last told of a refund."""

    order_id: str
    amount: int
    succeeded: bool
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What the mark to PENDING adds to an order."""

    lines: list[PricedLine]
    total: int
    payment_id: str
    payment_deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderState:
    """Where an order stands, as a mark finds or leaves it."""

    user_id: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    refunded: int
    payment_id: str | None
    payment_deadline: datetime | None
    seq: int
    """Number of the order's last transition."""
    updated_at: datetime
    items: list[OrderItem]

    def refund(self, change: int, *, at: datetime) -> OrderState:
        """Where a refund leaves a sold order; `change` in minor units, below zero when one was taken back."""
        assert self.total is not None, "a sold order has its price"  # noqa: S101  # marked PENDING with one
        refunded = self.refunded + change
        status = refunded_status(refunded=refunded, total=self.total)
        return replace(self, status=status, reason=None, refunded=refunded, seq=self.seq + 1, updated_at=at)

    def move(self, mark: Mark, pricing: Pricing | None, *, at: datetime) -> OrderState:
        """Where the mark leaves the order."""
        moved = replace(self, status=mark.to_status, reason=mark.reason, seq=self.seq + 1, updated_at=at)
        if pricing is None:
            return moved
        prices = {line.product_id: line.unit_price for line in pricing.lines}
        return replace(
            moved,
            total=pricing.total,
            payment_id=pricing.payment_id,
            payment_deadline=pricing.payment_deadline,
            items=[replace(item, unit_price=prices.get(item.product_id, item.unit_price)) for item in self.items],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """How a new order came in: the idempotency key of its route, and the cause of its first transition."""

    order_id: str
    route: str
    key: str
    cause_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """The order that an idempotency key stands for."""

    order_id: str
    request_hash: str
    accepted_only: bool


def saga_input(order_id: str, new: NewOrder, policy: SagaPolicy, *, is_repair: bool = False) -> OrderInput:
    """What the order's saga starts with: no name, no address."""
    return OrderInput(
        order_id=order_id,
        user_id=new.user_id,
        lines=new.lines,
        currency=new.currency,
        payment_method=new.payment_method,
        expected_total=new.expected_total,
        payment_window_seconds=new.payment_window_seconds,
        policy=policy,
        is_repair=is_repair,
    )
