"""Payments, refunds and disputes, as they cross HTTP; money in minor units of the payment's currency."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

from api.schemas.fields import Request, plain_line, whole
from api.schemas.lines import Line
from domain.limits import MAX_NOTE
from domain.money import MAX_AMOUNT
from domain.orders import MAX_LINES
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus


class NewRefund(Request, frozen=True, kw_only=True):
    """Money of an order to give back: so much in minor units, or all that is left without an `amount`.

    `restock` says what of the order is put back into stock once the money is given back. `note` is kept for people, and
    goes nowhere else.
    """

    amount: Annotated[int, whole(1, MAX_AMOUNT)] | None = None
    restock: Annotated[list[Line], Meta(max_length=MAX_LINES, description=f"at most {MAX_LINES} lines")] = field(
        default_factory=list
    )
    note: Annotated[str, plain_line(MAX_NOTE)] | None = None


class Refund(Struct, frozen=True, kw_only=True):
    """Money of an order that is given back, or was to be; `amount` in minor units of `currency`.

    `PENDING` may last for days. `SUCCEEDED` can turn `FAILED` when the customer's bank sends the money back. One that
    `FAILED` or was `CANCELLED` calls for our team, and is `RESOLVED` or `REPLACED` by another refund then. `origin` is
    `ADMIN` for one that was asked for here, `VOID` for one that is due because the order ended without being paid, and
    `STRIPE` for one that was made in Stripe's dashboard.
    """

    id: str
    order_id: str
    payment_id: str
    status: RefundStatus
    origin: RefundOrigin
    amount: int
    currency: str
    restock: list[Line]
    failure_reason: str | None
    created_at: datetime


class NewRefundApproval(Request, frozen=True, kw_only=True):
    """How much of an order somebody else may give back at most, in minor units; `note` is kept for people."""

    amount: Annotated[int, whole(1, MAX_AMOUNT)]
    note: Annotated[str, plain_line(MAX_NOTE)] | None = None


class RefundApproval(Struct, frozen=True, kw_only=True):
    """A second person's approval of one refund of an order, of `amount` at most, in minor units of `currency`.

    It can be used until `expires_at` by whoever may refund, but for `approved_by`. `refund_id` is the refund that used
    it.
    """

    id: str
    order_id: str
    amount: int
    currency: str
    approved_by: str
    expires_at: datetime
    refund_id: str | None


class Refunds(Struct, frozen=True, kw_only=True):
    """The refunds of an order, oldest first."""

    items: list[Refund]


class Dispute(Struct, frozen=True, kw_only=True):
    """A customer's dispute with their bank; `id`, `status` and `reason` are Stripe's, amounts in minor units.

    `withdrawn` is what Stripe holds or took because of it. It is answered in Stripe's dashboard, until `respond_by`.
    """

    id: str
    status: DisputeStatus
    reason: str
    amount: int
    currency: str
    withdrawn: int
    respond_by: datetime | None


class Payment(Struct, frozen=True, kw_only=True):
    """An order's payment as it was last read from Stripe; amounts in minor units of `currency`.

    `amount_refundable` is what came in and is neither given back, nor about to be, nor lost to a dispute;
    0 while a bank decides about the money.
    `failed_attempts` counts the charges, and the authentications (3-D Secure), that failed so far.
    """

    id: str
    order_id: str
    status: PaymentStatus
    currency: str
    amount: int
    amount_received: int
    amount_refunded: int
    amount_refundable: int
    failed_attempts: int
    disputes: list[Dispute]
