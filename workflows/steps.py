"""The steps of the sagas as typed signatures; `activities/` implements them.

A step is idempotent: it may run again after it took effect. A business refusal is an `ApplicationError` that is not
retried, whose type is the name of a `domain.refusals.Refusal`; any other error is temporary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from temporalio import activity

from domain.saga import (
    AttentionRequest,
    CheckPaymentRequest,
    CloseDisputeRequest,
    CloseRefundRequest,
    DisputeState,
    Marked,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    OpenPaymentRequest,
    PaymentState,
    Quote,
    QuoteRequest,
    RefundState,
    ReserveRequest,
    RestockRequest,
    Resumption,
)


class PricingSteps(ABC):
    """Prices, owned by the product service."""

    @activity.defn(name="quote")
    @abstractmethod
    async def quote(self, request: QuoteRequest) -> Quote:
        """Snapshot the price of each line, and make sure that the total can be charged at all.

        Refusals: PRODUCT_NOT_FOUND, PRODUCT_INACTIVE, CURRENCY_MISMATCH, DISCOUNT_TOO_LARGE, PRICE_CHANGED,
        PAYMENT_REJECTED.
        """


class StockSteps(ABC):
    """Reservations, owned by the inventory service."""

    @activity.defn(name="reserve")
    @abstractmethod
    async def reserve(self, request: ReserveRequest) -> None:
        """Reserve all lines or none. Refusal: OUT_OF_STOCK."""

    @activity.defn(name="release")
    @abstractmethod
    async def release(self, order_id: str) -> None:
        """Undo `reserve`: make the units available again, and refuse a reserve that comes late."""

    @activity.defn(name="commit")
    @abstractmethod
    async def commit(self, order_id: str) -> None:
        """Take the reserved units out of stock. Refusals: RESERVATION_RELEASED, RESERVATION_NOT_FOUND."""

    @activity.defn(name="restock")
    @abstractmethod
    async def restock(self, request: RestockRequest) -> None:
        """Put sold units back. Refusals: RESERVATION_NOT_FOUND, RESTOCK_EXCEEDS_SALE, RESTOCK_DIFFERS."""


class PaymentSteps(ABC):
    """The order's payment, owned by the payment service."""

    @activity.defn(name="open_payment")
    @abstractmethod
    async def open_payment(self, request: OpenPaymentRequest) -> PaymentState:
        """Open the payment, and confirm it when a payment method came with the order. Refusal: PAYMENT_REJECTED."""

    @activity.defn(name="check_payment")
    @abstractmethod
    async def check_payment(self, request: CheckPaymentRequest) -> PaymentState:
        """Read the payment."""

    @activity.defn(name="close_payment")
    @abstractmethod
    async def close_payment(self, order_id: str) -> PaymentState:
        """Take no more money: CANCELLED, or SUCCEEDED or PROCESSING if the customer was faster."""

    @activity.defn(name="void_payment")
    @abstractmethod
    async def void_payment(self, order_id: str) -> None:
        """Undo `open_payment`: cancel, or record a refund of what succeeded, and refuse an open that comes late.

        The refund is made by a `RefundSaga` of its own, which may take days.
        """


class RefundSteps(ABC):
    """A refund of a payment, owned by the payment service."""

    @activity.defn(name="carry_out_refund")
    @abstractmethod
    async def carry_out_refund(self, refund_id: str) -> RefundState:
        """Request the refund at Stripe unless it has it, and read what became of it. Refusal: PAYMENT_DISPUTED."""

    @activity.defn(name="replace_refund")
    @abstractmethod
    async def replace_refund(self, refund_id: str) -> RefundState:
        """Make another refund in the place of a failed one, by a saga of its own; answers with the failed one.

        Refusals: REFUND_EXCEEDS_PAYMENT, PAYMENT_DISPUTED, REFUND_NEEDS_APPROVAL.
        """

    @activity.defn(name="resolve_refund")
    @abstractmethod
    async def resolve_refund(self, refund_id: str) -> RefundState:
        """Record that a person has dealt with a failed refund."""

    @activity.defn(name="close_refund")
    @abstractmethod
    async def close_refund(self, request: CloseRefundRequest) -> bool:
        """Record that everything that follows from the refund is done; false if it has changed since."""


class DisputeSteps(ABC):
    """A dispute of a payment, owned by the payment service."""

    @activity.defn(name="check_dispute")
    @abstractmethod
    async def check_dispute(self, dispute_id: str) -> DisputeState:
        """Read the dispute at Stripe."""

    @activity.defn(name="close_dispute")
    @abstractmethod
    async def close_dispute(self, request: CloseDisputeRequest) -> bool:
        """Record that everything that follows from the dispute is done; false if it has changed since."""


class OrderSteps(ABC):
    """The order's status, owned by the order service."""

    @activity.defn(name="mark_pending")
    @abstractmethod
    async def mark_pending(self, request: MarkPendingRequest) -> Marked:
        """RECEIVED to PENDING; a repeat answers with the deadline that the first one stored."""

    @activity.defn(name="mark")
    @abstractmethod
    async def mark(self, request: MarkRequest) -> Marked:
        """To PAID, FAILED or CANCELLED."""

    @activity.defn(name="mark_refunded")
    @abstractmethod
    async def mark_refunded(self, request: MarkRefundedRequest) -> Marked:
        """To PARTIALLY_REFUNDED or REFUNDED, or back; one that was not sold stays as it is. Fails while it is open."""

    @activity.defn(name="read_order")
    @abstractmethod
    async def read_order(self, order_id: str) -> Marked:
        """Where the order stands."""

    @activity.defn(name="resume_order")
    @abstractmethod
    async def resume_order(self, order_id: str) -> Resumption:
        """How far an earlier run came, with the prices that the order is sold at."""

    @activity.defn(name="attention")
    @abstractmethod
    async def attention(self, request: AttentionRequest) -> None:
        """Raise attention for a step, or clear it."""


ASK_STRIPE: Final[frozenset[Callable[..., Any]]] = frozenset(
    {
        PaymentSteps.open_payment,
        PaymentSteps.check_payment,
        PaymentSteps.close_payment,
        PaymentSteps.void_payment,
        RefundSteps.carry_out_refund,
        DisputeSteps.check_dispute,
    }
)
"""Steps in which the payment service may have to ask Stripe."""


def may_ask_stripe(step: Callable[..., Any], request: object) -> bool:
    """Whether the step may wait for Stripe, as far as its request tells: a free order's payment does not, for one."""
    match request:
        case OpenPaymentRequest():
            return request.amount > 0
        case CheckPaymentRequest():
            return request.refresh
        case _:
            return step in ASK_STRIPE
