"""What is refused about payments, and why the service may ask to be asked again."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused, Unavailable


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


class PaymentUnsettled(Unavailable):
    """The payment can be neither cancelled nor refunded yet."""
