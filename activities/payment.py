"""Payment steps, at the payment service."""

from __future__ import annotations

from temporalio import activity

from activities.calling import StripeCalls
from domain.saga import CheckPaymentRequest, OpenPaymentRequest, PaymentState
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from runtime.protos import from_proto, to_proto
from workflows.steps import PaymentSteps, may_ask_stripe


class PaymentActivities(PaymentSteps):
    """See `workflows.steps.PaymentSteps`."""

    def __init__(self, *, payments: PaymentServiceStub, stripe: StripeCalls) -> None:
        self._payments = payments
        self._stripe = stripe

    @activity.defn(name="open_payment")
    async def open_payment(self, request: OpenPaymentRequest) -> PaymentState:
        response = await self._stripe.call(
            self._payments.OpenPayment,
            to_proto(pb.OpenPaymentRequest, request),
            may_ask=may_ask_stripe(PaymentSteps.open_payment, request),
        )
        return _to_state(response.payment)

    @activity.defn(name="check_payment")
    async def check_payment(self, request: CheckPaymentRequest) -> PaymentState:
        response = await self._stripe.call(
            self._payments.CheckPayment,
            to_proto(pb.CheckPaymentRequest, request),
            may_ask=may_ask_stripe(PaymentSteps.check_payment, request),
        )
        return _to_state(response.payment)

    @activity.defn(name="close_payment")
    async def close_payment(self, order_id: str) -> PaymentState:
        response = await self._stripe.call(self._payments.ClosePayment, pb.ClosePaymentRequest(order_id=order_id))
        return _to_state(response.payment)

    @activity.defn(name="void_payment")
    async def void_payment(self, order_id: str) -> None:
        await self._stripe.call(self._payments.VoidPayment, pb.VoidPaymentRequest(order_id=order_id))


def _to_state(payment: pb.Payment) -> PaymentState:
    return from_proto(PaymentState, payment, payment_id=payment.id)
