"""The contract of the workflows: names, inputs and answers of each and of their steps (design §4).

Everything here is stored in workflow histories, so a field may be added with a default but never renamed. No names,
addresses, e-mails or client secrets: a history is readable by whoever reads the Temporal Web UI.
"""

# No `from __future__ import annotations`: Temporal's converter would compile each type anew for each value it reads.

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.orders import CancelledBy, OrderLine, OrderStatus, PricedLine
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus

ORDER_SAGA: Final = "OrderSaga"
PAYMENT_CHANGED_SIGNAL: Final = "payment_changed"
CANCEL_UPDATE: Final = "cancel"
REFUND_SAGA: Final = "RefundSaga"
REFUND_CHANGED_SIGNAL: Final = "refund_changed"
DISPUTE_CASE: Final = "DisputeCase"
DISPUTE_CHANGED_SIGNAL: Final = "dispute_changed"

ORDER_STATUS_ATTRIBUTE: Final = "OrderStatus"
CUSTOMER_ID_ATTRIBUTE: Final = "CustomerId"
ORDER_TOTAL_ATTRIBUTE: Final = "OrderTotal"
ORDER_ATTENTION_ATTRIBUTE: Final = "OrderAttention"


LOST_WORKFLOW_STEP: Final = "workflow"
"""Stands for a step in attention: the order is open, and its workflow was terminated or has failed."""


def order_workflow_id(order_id: str) -> str:
    """The one workflow id of an order."""
    return f"order-{order_id}"


def refund_workflow_id(refund_id: str) -> str:
    """The workflow id of a refund; one that Stripe takes back later runs under it once more."""
    return f"refund-{refund_id}"


def dispute_workflow_id(dispute_id: str) -> str:
    """The workflow id of a dispute, by Stripe's own id."""
    return f"dispute-{dispute_id}"


def payment_queue(task_queue: str) -> str:
    """The task queue of retried steps that ask Stripe, beside the one of everything else."""
    return f"{task_queue}-payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPolicy:
    """Settings as they were when the order's saga was started, so that a change touches new sagas only."""

    payment_attempts: int
    """Failed charges and authentications after which the order FAILS."""
    attention_after_seconds: float
    """A step that fails for this long raises attention."""
    payment_event_patience_seconds: float
    """How long to wait for the signed event of a payment that is said to have succeeded, before it is read.

    A timeout; histories have it under this name.
    """
    acceptance_limit_seconds: float | None = None
    """An order that waited for its saga for longer than this FAILS, uncharged. None, as in old histories: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderInput:
    """What `OrderSaga` starts with."""

    order_id: str
    user_id: str
    lines: list[OrderLine]
    currency: str
    payment_method: str | None
    expected_total: int | None
    """Total in minor units that the customer saw; another one refuses the order with PRICE_CHANGED."""
    payment_window_seconds: int
    policy: SagaPolicy
    is_repair: bool = False
    """Whether an earlier run was terminated or failed: how far it came is read at the order service."""
    waited_seconds: float = 0
    """How long the order had waited by then, by the clock that says when it was accepted."""
    adjustment: int = 0
    """What shipping and discounts do to the total, minor units: below zero where they make the order cheaper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """How the order ended."""

    order_id: str
    status: OrderStatus
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Request an order's cancellation."""

    cancelled_by: CancelledBy


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteRequest:
    """Ask for today's prices of all lines in one currency."""

    lines: list[OrderLine]
    currency: str
    expected_total: int | None
    adjustment: int = 0
    """As in `OrderInput`; part of the quote's total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price snapshot that the order is sold at, in minor units of `currency`; shipping and discounts are in it."""

    lines: list[PricedLine]
    total: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveRequest:
    """Reserve all lines for the order, or none."""

    order_id: str
    lines: list[OrderLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPaymentRequest:
    """Open the order's one payment; confirm it too when a payment method came with the order."""

    order_id: str
    user_id: str
    amount: int
    currency: str
    payment_method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPaymentRequest:
    """Read the order's payment: as stored, or, with `refresh`, after a re-read at the provider."""

    order_id: str
    refresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentState:
    """The payment as the payment service knows it; amounts in minor units of `currency`."""

    payment_id: str
    status: PaymentStatus
    amount_received: int
    currency: str
    failed_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPendingRequest:
    """Mark the order PENDING with what it costs and until when it can be paid."""

    order_id: str
    cause_id: str
    lines: list[PricedLine]
    total: int
    payment_id: str
    payment_deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRequest:
    """Mark the order PAID, FAILED or CANCELLED. A repeat with the same cause returns the stored transition."""

    order_id: str
    cause_id: str
    status: OrderStatus
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """The order's status after a mark. It is another one than requested if the order had left it before."""

    status: OrderStatus
    reason: str | None
    payment_deadline: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """How far an earlier run of the saga brought the order; the quote is there once it was PENDING."""

    order: Marked
    quote: Quote | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRequest:
    """Raise attention for a step with a note of its cause, or clear it."""

    order_id: str
    step: str
    why: str | None
    """The note; None clears. Histories have it under this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundInput:
    """What `RefundSaga` starts with; the amount, and what is put back into stock, is read at the payment service."""

    refund_id: str
    order_id: str
    attention_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundResult:
    """How the refund ended."""

    refund_id: str
    status: RefundStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundState:
    """A refund as the payment service knows it; the amount in minor units of `currency`."""

    refund_id: str
    order_id: str
    status: RefundStatus
    amount: int
    currency: str
    failure_reason: str | None
    origin: RefundOrigin
    restock: list[OrderLine]
    """Units to put back into stock once the refund has succeeded."""
    restock_id: str
    """Under which they are put back, once: a refund that replaces another has the other's."""
    version: int
    """Number of the refund's last change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRefundedRequest:
    """Update the order with one of its refunds. A version that is not newer than the last changes nothing."""

    order_id: str
    refund_id: str
    amount: int
    succeeded: bool
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestockRequest:
    """Put units of a refunded order back into stock, once per id."""

    restock_id: str
    order_id: str
    lines: list[OrderLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRefundRequest:
    """Everything that follows from this version of the refund is done."""

    refund_id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeInput:
    """What `DisputeCase` starts with."""

    dispute_id: str
    order_id: str
    attention_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeState:
    """A dispute as the payment service knows it; the amount in minor units of `currency`."""

    dispute_id: str
    order_id: str
    status: DisputeStatus
    reason: str
    """Stripe's word for what the customer claims."""
    amount: int
    currency: str
    respond_by: datetime | None
    version: int
    """Number of the dispute's last change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseDisputeRequest:
    """Everything that follows from this version of the dispute is done."""

    dispute_id: str
    version: int
