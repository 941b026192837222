"""Payment steps, at the payment service."""

from __future__ import annotations

from temporalio import activity

from activities.calling import call_service
from domain.saga import CheckPaymentRequest, OpenPaymentRequest, PaymentState
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from runtime.protos import from_proto, to_proto
from workflows.steps import PaymentSteps


class PaymentActivities(PaymentSteps):
    """See `workflows.steps.PaymentSteps`."""

    def __init__(self, *, payments: PaymentServiceStub) -> None:
        self._payments = payments

    @activity.defn(name="open_payment")
    async def open_payment(self, request: OpenPaymentRequest) -> PaymentState:
        response = await call_service(
            self._payments.OpenPayment,
            to_proto(pb.OpenPaymentRequest, request),
        )
        return _to_state(response.payment)

    @activity.defn(name="check_payment")
    async def check_payment(self, request: CheckPaymentRequest) -> PaymentState:
        response = await call_service(self._payments.CheckPayment, to_proto(pb.CheckPaymentRequest, request))
        return _to_state(response.payment)

    @activity.defn(name="close_payment")
    async def close_payment(self, order_id: str) -> PaymentState:
        response = await call_service(self._payments.ClosePayment, pb.ClosePaymentRequest(order_id=order_id))
        return _to_state(response.payment)

    @activity.defn(name="void_payment")
    async def void_payment(self, order_id: str) -> None:
        await call_service(self._payments.VoidPayment, pb.VoidPaymentRequest(order_id=order_id))


def _to_state(payment: pb.Payment) -> PaymentState:
    return from_proto(PaymentState, payment, payment_id=payment.id)
