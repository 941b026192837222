"""What is refused about refunds."""

from __future__ import annotations

import grpc

from domain.money import format_money
from domain.orders import OrderLine
from domain.refusals import Refusal
from runtime.refusal import Refused
from services.payment.payments.model import Payment


class PaymentNotRefundable(Refused):
    """Nothing of the payment can be given back."""

    refusal = Refusal.PAYMENT_NOT_REFUNDABLE

    def __init__(self, order_id: str, cause: str) -> None:
        super().__init__(f"order {order_id} cannot be refunded: {cause}", order_id=order_id)


class RefundExceedsPayment(Refused):
    """Less is left of the payment than is to be given back."""

    refusal = Refusal.REFUND_EXCEEDS_PAYMENT

    def __init__(self, payment: Payment, amount: int | None) -> None:
        left = format_money(payment.amount_refundable, payment.settled_currency)
        asked = "all that is left" if amount is None else format_money(amount, payment.settled_currency)
        super().__init__(
            f"{asked} cannot be refunded: {left} is left of what order {payment.order_id} paid",
            order_id=payment.order_id,
            left=str(payment.amount_refundable),
        )


class RefundNeedsAdmin(Refused):
    """It is more than members of support may give back of one payment."""

    refusal = Refusal.REFUND_NEEDS_ADMIN

    def __init__(self, payment: Payment, amount: int, *, left: int) -> None:
        asked, may = (format_money(each, payment.settled_currency) for each in (amount, left))
        super().__init__(
            f"{asked} of order {payment.order_id} can be refunded by an admin alone: support may give back {may} more",
            order_id=payment.order_id,
            left=str(left),
        )


class RefundNeedsApproval(Refused):
    """It is more than people may give back of one payment without a second one, and no approval fits it."""

    refusal = Refusal.REFUND_NEEDS_APPROVAL

    def __init__(self, payment: Payment, amount: int, *, left: int, by_requester: str | None) -> None:
        asked, may = (format_money(each, payment.settled_currency) for each in (amount, left))
        why_not = f"; {by_requester} has approved it, and cannot be both" if by_requester else ""
        super().__init__(
            f"{asked} of order {payment.order_id} needs the approval of a second person: one alone may give back {may} "
            f"more{why_not}",
            order_id=payment.order_id,
            left=str(left),
        )


class RefundNeedsNoApproval(Refused):
    """One person may give so much back."""

    refusal = Refusal.REFUND_NEEDS_NO_APPROVAL

    def __init__(self, payment: Payment, amount: int) -> None:
        asked = format_money(amount, payment.settled_currency)
        super().__init__(
            f"{asked} of order {payment.order_id} needs no approval: one person alone may give so much back",
            order_id=payment.order_id,
        )


class RestockExceedsSale(Refused):
    """More units are to be put back into stock than the order has and other refunds do not put back."""

    refusal = Refusal.RESTOCK_EXCEEDS_SALE

    def __init__(self, order_id: str, line: OrderLine, *, left: int) -> None:
        super().__init__(
            f"{line.quantity} of product {line.product_id} cannot be put back: order {order_id} has {left} left of it",
            order_id=order_id,
            product_id=line.product_id,
            left=str(left),
        )


class PaymentDisputed(Refused):
    """The customer's bank decides about the money: no refund is made meanwhile."""

    refusal = Refusal.PAYMENT_DISPUTED

    def __init__(self, order_id: str, dispute_id: str) -> None:
        super().__init__(
            f"the payment of order {order_id} is disputed ({dispute_id}); it cannot be refunded before that is decided",
            order_id=order_id,
            dispute_id=dispute_id,
        )


class RefundNotFound(Refused):
    """There is no such refund."""

    refusal = Refusal.REFUND_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, refund_id: str) -> None:
        super().__init__(f"there is no refund {refund_id}", refund_id=refund_id)
