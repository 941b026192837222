"""Payment steps, at the payment service."""

from __future__ import annotations

from typing import Final

from temporalio import activity

from activities.calling import call_service
from domain.payments import PaymentStatus
from domain.saga import CheckPaymentRequest, OpenPaymentRequest, PaymentState
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from workflows.steps import PaymentSteps

_STATUSES: Final = {
    pb.PAYMENT_STATUS_OPENING: PaymentStatus.OPENING,
    pb.PAYMENT_STATUS_REQUIRES_PAYMENT_METHOD: PaymentStatus.REQUIRES_PAYMENT_METHOD,
    pb.PAYMENT_STATUS_REQUIRES_ACTION: PaymentStatus.REQUIRES_ACTION,
    pb.PAYMENT_STATUS_PROCESSING: PaymentStatus.PROCESSING,
    pb.PAYMENT_STATUS_SUCCEEDED: PaymentStatus.SUCCEEDED,
    pb.PAYMENT_STATUS_CANCELLED: PaymentStatus.CANCELLED,
}


class PaymentActivities(PaymentSteps):
    """See `workflows.steps.PaymentSteps`."""

    def __init__(self, *, payments: PaymentServiceStub) -> None:
        self._payments = payments

    @activity.defn(name="open_payment")
    async def open_payment(self, request: OpenPaymentRequest) -> PaymentState:
        response = await call_service(
            self._payments.OpenPayment,
            pb.OpenPaymentRequest(
                order_id=request.order_id,
                user_id=request.user_id,
                amount=request.amount,
                currency=request.currency,
                payment_method=request.payment_method or "",
            ),
        )
        return _to_state(response.payment)

    @activity.defn(name="check_payment")
    async def check_payment(self, request: CheckPaymentRequest) -> PaymentState:
        response = await call_service(
            self._payments.CheckPayment, pb.CheckPaymentRequest(order_id=request.order_id, refresh=request.refresh)
        )
        return _to_state(response.payment)

    @activity.defn(name="close_payment")
    async def close_payment(self, order_id: str) -> PaymentState:
        response = await call_service(self._payments.ClosePayment, pb.ClosePaymentRequest(order_id=order_id))
        return _to_state(response.payment)

    @activity.defn(name="void_payment")
    async def void_payment(self, order_id: str) -> None:
        await call_service(self._payments.VoidPayment, pb.VoidPaymentRequest(order_id=order_id))


def _to_state(payment: pb.Payment) -> PaymentState:
    return PaymentState(
        payment_id=payment.id,
        status=_STATUSES[payment.status],
        amount_received=payment.amount_received,
        currency=payment.currency,
        failed_attempts=payment.failed_attempts,
    )
