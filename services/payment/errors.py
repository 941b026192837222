"""What the payment service refuses, and why it may ask to be asked again."""

from __future__ import annotations

import grpc

from domain.money import format_money
from domain.orders import OrderLine
from domain.refusals import Refusal
from runtime.refusal import Refused, Unavailable
from services.payment.model import Payment


class PaymentNotFound(Refused):
    """The order has no payment."""

    refusal = Refusal.PAYMENT_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} has no payment", order_id=order_id)


class NoSuchPayment(Refused):
    """There is no payment with this id, or it is not the caller's to see."""

    refusal = Refusal.PAYMENT_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, payment_id: str) -> None:
        super().__init__(f"there is no payment {payment_id}", payment_id=payment_id)


class PaymentRejected(Refused):
    """Stripe cannot be asked for this payment, or refused the request itself."""

    refusal = Refusal.PAYMENT_REJECTED


class PaymentVoided(Refused):
    """The order's payment was undone for good."""

    refusal = Refusal.PAYMENT_VOIDED

    def __init__(self, order_id: str) -> None:
        super().__init__(f"the payment of order {order_id} is voided", order_id=order_id)


class PaymentDiffers(Refused):
    """The order has a payment of another customer, amount, currency or payment method."""

    refusal = Refusal.PAYMENT_DIFFERS

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} has another payment", order_id=order_id)


class PaymentNotRefundable(Refused):
    """Nothing of the payment can be given back."""

    refusal = Refusal.PAYMENT_NOT_REFUNDABLE

    def __init__(self, order_id: str, why: str) -> None:
        super().__init__(f"order {order_id} cannot be refunded: {why}", order_id=order_id)


class RefundExceedsPayment(Refused):
    """Less is left of the payment than is to be given back."""

    refusal = Refusal.REFUND_EXCEEDS_PAYMENT

    def __init__(self, payment: Payment, amount: int | None) -> None:
        left = format_money(payment.amount_refundable, payment.money)
        asked = "all that is left" if amount is None else format_money(amount, payment.money)
        super().__init__(
            f"{asked} cannot be refunded: {left} is left of what order {payment.order_id} paid",
            order_id=payment.order_id,
            left=str(payment.amount_refundable),
        )


class RestockExceedsSale(Refused):
    """More pieces are to be put back into stock than the order has and other refunds do not put back."""

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


class DisputeNotFound(Refused):
    """There is no such dispute."""

    refusal = Refusal.DISPUTE_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, dispute_id: str) -> None:
        super().__init__(f"there is no dispute {dispute_id}", dispute_id=dispute_id)


class IdempotencyKeyReused(Refused):
    """The idempotency key stands for another request."""

    refusal = Refusal.IDEMPOTENCY_KEY_REUSED

    def __init__(self, key: str) -> None:
        super().__init__("this Idempotency-Key was used with another request; take a new key", key=key)


class BadWebhookSignature(Refused):
    """A webhook is not signed by Stripe, or not recently."""

    refusal = Refusal.BAD_WEBHOOK_SIGNATURE
    code = grpc.StatusCode.INVALID_ARGUMENT


class BadWebhookBody(Refused):
    """A signed webhook holds no v1 event."""

    refusal = Refusal.BAD_WEBHOOK_BODY
    code = grpc.StatusCode.INVALID_ARGUMENT


class PaymentUnsettled(Unavailable):
    """The payment can be neither cancelled nor refunded yet."""
