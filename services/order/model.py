"""What the order service works with: requests, orders and their history, and what is computed from these alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from sqlmodel import Field

from domain.emails import normal_email
from domain.orders import (
    FINAL_STATUSES,
    OrderLine,
    OrderStatus,
    PriceAdjustment,
    PricedLine,
    refunded_status,
    total_change,
)
from domain.saga import OrderInput, SagaPolicy
from runtime.idempotency import IdempotentRequest
from runtime.refusal import InvalidArgument
from runtime.rows import Value
from services.order.tables import (
    CancellationRequestColumns,
    ItemColumns,
    OrderColumns,
    OrderRefundColumns,
    RequestColumns,
    TransitionColumns,
    VersionColumns,
)

_GUESTS: Final = UUID("2b1a9d0c-7c57-5f0e-8d3e-51c2f2a0b6d7")
"""Namespace (RFC 9562) of the ids that stand for addresses of guests."""


class Address(Value):
    """A postal address."""

    name: str
    line1: str
    line2: str
    city: str
    region: str = ""
    """Not there in what was kept before addresses had one."""
    postal_code: str
    country: str


class Guest(Value):
    """Somebody who orders without an account."""

    email: str
    name: str = ""

    @property
    def key(self) -> str:
        """A UUID that stands for the address where idempotency keys are kept, and limits are counted."""
        return str(uuid5(_GUESTS, normal_email(self.email)))


class OrderRequest(Value, RequestColumns):
    """What a customer asks for; lines as they named them, each product once."""

    lines: list[OrderLine]
    adjustments: list[PriceAdjustment] = Field(default_factory=list)
    """Shipping and discounts, as the shop named them."""

    @property
    def units(self) -> int:
        """Of all products together."""
        return sum(line.quantity for line in self.lines)

    def saga_input(
        self, order_id: str, policy: SagaPolicy, *, waited: timedelta = timedelta(), is_repair: bool = False
    ) -> OrderInput:
        """What the order's saga starts with: no name, no address; `waited` since it was accepted.

        Its lines are sorted by product, as they are locked.
        """
        return OrderInput(
            order_id=order_id,
            user_id=self.user_id,
            lines=sorted(self.lines, key=lambda line: line.product_id),
            currency=self.currency,
            payment_method=self.payment_method,
            expected_total=self.expected_total,
            payment_window_seconds=self.payment_window_seconds,
            policy=policy,
            is_repair=is_repair,
            waited_seconds=waited.total_seconds(),
            adjustment=total_change(self.adjustments),
        )


class NewOrder(OrderRequest):
    """An order to accept."""

    shipping_address: Address
    shop_metadata: dict[str, str] = Field(default_factory=dict)
    guest: Guest | None = None
    """Who places it; `user_id` then stands for them, and is no account's."""
    on_behalf: bool = False
    """Whether the shop's back end places it for them."""

    @property
    def placed_by(self) -> str:
        """A UUID of who places it: an account, or an address of a guest, whose orders have nothing else in common."""
        return self.user_id if self.guest is None else self.guest.key

    @property
    def content(self) -> dict[str, object]:
        """What makes it the request that it is, for `runtime.fingerprint`.

        As it was when the first keys were stored: sorted lines, and nothing of what came later where that is not used.
        """
        unused = {name for name in ("shop_metadata", "adjustments") if not getattr(self, name)} | {"on_behalf"}
        content = self.model_dump(exclude=unused | ({"guest"} if self.guest is None else {"user_id"}))
        if not self.shipping_address.region:
            del content["shipping_address"]["region"]
        return {**content, "lines": sorted(content["lines"], key=lambda line: line["product_id"])}


class AcceptedOrder(OrderRequest):
    """An order that was accepted, as it was asked for."""

    id: str
    created_at: datetime

    @property
    def order_id(self) -> str:
        """Its id."""
        return self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """How a new order comes in.

    Attributes:
        number: of the order; nobody has seen it yet, and another order may have it.
        request: claims the idempotency key.
        cause_id: of the first transition.
        start_after: when the saga is due for a start, unless the order has left RECEIVED by then.
    """

    order_id: str
    number: str
    request: IdempotentRequest
    cause_id: str
    at: datetime
    start_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Orders that have not left RECEIVED, of the last that came.

    Attributes:
        received: how many.
        new: how many of them are new; the others may stand still for a reason of their own.
        waited: for how long half of them have, at least, seconds.
        came: orders that came since a moment that was asked about, whether or not they have left.
    """

    received: int
    new: int
    waited: float
    came: int


class OrderItem(Value, ItemColumns):
    """A line of an order; orders have theirs as the customer named them."""


class Transition(Value, TransitionColumns):
    """One arrow of an order's history."""


class Order(Value, OrderColumns):
    """An order as it stands, with its history, the first transition first."""

    items: list[OrderItem]
    adjustments: list[PriceAdjustment]
    shipping_address: Address
    shop_metadata: dict[str, str]
    is_guest: bool
    """Whether it is nobody's account's."""
    guest_email: str | None
    """The guest's, until they are erased."""
    transitions: list[Transition]

    @property
    def left_received_at(self) -> datetime | None:
        """When it was PENDING, or ended before; None while it is RECEIVED."""
        return next((transition.at for transition in self.transitions if transition.from_status is not None), None)

    @property
    def closed_at(self) -> datetime | None:
        """When it was PAID, FAILED or CANCELLED; None while it is open."""
        return next((transition.at for transition in self.transitions if not transition.to_status.is_open), None)


class History(Value):
    """What happened to an order, or the end of it, the first transition first."""

    id: str
    user_id: str
    status: OrderStatus
    transitions: list[Transition]

    @property
    def is_final(self) -> bool:
        """Whether no other transition can follow."""
        return self.status in FINAL_STATUSES


class OrderSummary(Value, OrderColumns):
    """An order as it stands in a list: without items, address and history."""

    line_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A transition to be applied. `cause_id` names the step: a repeat of it is the same transition."""

    order_id: str
    cause_id: str
    to_status: OrderStatus
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What the mark to PENDING adds to an order; `total` in minor units."""

    lines: list[PricedLine]
    total: int
    payment_id: str
    payment_deadline: datetime

    def check_total(self, adjustments: Iterable[PriceAdjustment]) -> None:
        """See that the total is that of the lines with an order's adjustments.

        Raises:
            InvalidArgument: it is not, as from a worker of a release that knows of none.
        """
        total = sum(line.total for line in self.lines) + total_change(adjustments)
        if total != self.total:
            raise InvalidArgument.of({"total": f"is {self.total}; lines and adjustments come to {total}"})


class RefundUpdate(Value, OrderRefundColumns):
    """What has become of a refund of an order."""

    @property
    def cause_id(self) -> str:
        """Names it as the cause of a transition."""
        return f"refund:{self.refund_id}:{self.version}"


class OrderState(Value, OrderColumns, VersionColumns):
    """Where an order stands, as a mark finds or leaves it."""

    items: list[OrderItem]
    adjustments: list[PriceAdjustment]
    is_guest: bool
    """As in an `Order`."""

    def refund(self, change: int, *, at: datetime) -> OrderState:
        """Where a refund leaves a sold order; `change` in minor units, below zero when one was taken back."""
        assert self.total is not None, "a sold order has its price"  # noqa: S101  # marked PENDING with one
        refunded = self.refunded + change
        status = refunded_status(refunded=refunded, total=self.total)
        return self._moved(status, reason=None, at=at).model_copy(update={"refunded": refunded})

    def move(self, mark: Mark, pricing: Pricing | None, *, at: datetime) -> OrderState:
        """Where the mark leaves the order."""
        moved = self._moved(mark.to_status, reason=mark.reason, at=at)
        if pricing is None:
            return moved
        lines = {line.product_id: line for line in pricing.lines}
        items = [
            item.model_copy(update={"unit_price": line.unit_price, "name": line.name or None})
            if (line := lines.get(item.product_id))
            else item
            for item in self.items
        ]
        priced = {
            "total": pricing.total,
            "payment_id": pricing.payment_id,
            "payment_deadline": pricing.payment_deadline,
            "items": items,
        }
        return moved.model_copy(update=priced)

    def _moved(self, status: OrderStatus, *, reason: str | None, at: datetime) -> OrderState:
        return self.model_copy(update={"status": status, "reason": reason, "seq": self.seq + 1, "updated_at": at})


class CancellationRequest(Value, CancellationRequestColumns):
    """Somebody wants an order cancelled; the `note` is kept for people, and goes nowhere else."""


class StoredCancellationRequest(CancellationRequest):
    """One as it is kept."""

    requested_at: datetime


class OpenCancellationRequest(CancellationRequest):
    """One that was not settled yet, and where its order stands."""

    status: OrderStatus
