"""The order service's steps in memory: status, history, payment deadline, refunds and attention of each order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from domain.orders import ALLOWED_FROM, SOLD_STATUSES, OrderStatus, PricedLine, refunded_status
from domain.refusals import Refusal
from domain.saga import (
    AttentionRequest,
    Marked,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    Quote,
    Resumption,
)
from tests.doubles.refusals import refused
from workflows.steps import OrderSteps


@dataclass(frozen=True, slots=True)
class Transition:
    """One arrow of an order's history."""

    from_status: OrderStatus | None
    to_status: OrderStatus
    cause_id: str


@dataclass(frozen=True, slots=True)
class Refund:
    """What an order was last told of one of its refunds."""

    amount: int
    succeeded: bool
    version: int


class StillOpen(Exception):
    """The order is not PAID yet: repeat."""


@dataclass(slots=True)
class OrderRow:
    """An order."""

    id: str
    lines: Mapping[str, int]
    currency: str
    status: OrderStatus = OrderStatus.RECEIVED
    reason: str | None = None
    total: int | None = None
    payment_deadline: datetime | None = None
    prices: list[PricedLine] = field(default_factory=list)
    refunds: dict[str, Refund] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=lambda: [Transition(None, OrderStatus.RECEIVED, "accepted")])
    attention: dict[str, str] = field(default_factory=dict)
    """Step to why, of what is not cleared."""

    @property
    def refunded(self) -> int:
        """Minor units given back so far."""
        return sum(refund.amount for refund in self.refunds.values() if refund.succeeded)


class OrdersDouble(OrderSteps):
    """See `workflows.steps.OrderSteps`."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderRow] = {}

    def accept(self, order_id: str, lines: Mapping[str, int], currency: str) -> None:
        """A new order, RECEIVED."""
        self.orders[order_id] = OrderRow(order_id, lines, currency)

    async def mark_pending(self, request: MarkPendingRequest) -> Marked:
        order = self._get(request.order_id)
        if self._move(order, OrderStatus.PENDING, None, request.cause_id):
            order.total, order.prices = request.total, list(request.lines)
            order.payment_deadline = request.payment_deadline
        return _marked(order)

    async def mark(self, request: MarkRequest) -> Marked:
        order = self._get(request.order_id)
        self._move(order, request.status, request.reason, request.cause_id)
        return Marked(status=order.status, reason=order.reason, payment_deadline=None)

    async def mark_refunded(self, request: MarkRefundedRequest) -> Marked:
        order = self._get(request.order_id)
        if order.status.is_open:
            raise StillOpen(f"order {order.id} is {order.status}")
        known = order.refunds.get(request.refund_id)
        if order.status in SOLD_STATUSES and (known is None or known.version < request.version):
            amount = request.amount if known is None else known.amount
            order.refunds[request.refund_id] = Refund(amount, request.succeeded, request.version)
            if request.succeeded != (known is not None and known.succeeded):
                self._refund(order, f"refund:{request.refund_id}:{request.version}")
        return Marked(status=order.status, reason=order.reason, payment_deadline=None)

    async def read_order(self, order_id: str) -> Marked:
        return _marked(self._get(order_id))

    async def resume_order(self, order_id: str) -> Resumption:
        order = self._get(order_id)
        if order.total is None:
            return Resumption(order=_marked(order), quote=None)
        return Resumption(
            order=_marked(order), quote=Quote(lines=order.prices, total=order.total, currency=order.currency)
        )

    async def attention(self, request: AttentionRequest) -> None:
        if request.why is None:
            # As in the service: there is nothing to clear for an order that is not there.
            if request.order_id in self.orders:
                self.orders[request.order_id].attention.pop(request.step, None)
        else:
            self._get(request.order_id).attention.setdefault(request.step, request.why)

    def _move(self, order: OrderRow, status: OrderStatus, reason: str | None, cause_id: str) -> bool:
        if order.status not in ALLOWED_FROM[status]:
            return False
        order.transitions.append(Transition(order.status, status, cause_id))
        order.status, order.reason = status, reason
        return True

    def _refund(self, order: OrderRow, cause_id: str) -> None:
        assert order.total is not None
        status = refunded_status(refunded=order.refunded, total=order.total)
        order.transitions.append(Transition(order.status, status, cause_id))
        order.status, order.reason = status, None

    def _get(self, order_id: str) -> OrderRow:
        if order_id not in self.orders:
            raise refused(Refusal.ORDER_NOT_FOUND, f"order {order_id}")
        return self.orders[order_id]


def _marked(order: OrderRow) -> Marked:
    return Marked(status=order.status, reason=order.reason, payment_deadline=order.payment_deadline)
