"""Steps of refunds and disputes, at the payment service."""

from __future__ import annotations

from temporalio import activity

from activities.calling import StripeCalls, call_service
from domain.saga import CloseDisputeRequest, CloseRefundRequest, DisputeState, RefundState
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from runtime.protos import from_proto, to_proto
from workflows.steps import DisputeSteps, RefundSteps


class RefundActivities(RefundSteps):
    """See `workflows.steps.RefundSteps`."""

    def __init__(self, *, payments: PaymentServiceStub, stripe: StripeCalls) -> None:
        self._payments = payments
        self._stripe = stripe

    @activity.defn(name="carry_out_refund")
    async def carry_out_refund(self, refund_id: str) -> RefundState:
        request = pb.CarryOutRefundRequest(refund_id=refund_id)
        return _to_refund((await self._stripe.call(self._payments.CarryOutRefund, request)).refund)

    @activity.defn(name="replace_refund")
    async def replace_refund(self, refund_id: str) -> RefundState:
        request = pb.ReplaceRefundRequest(refund_id=refund_id)
        return _to_refund((await call_service(self._payments.ReplaceRefund, request)).refund)

    @activity.defn(name="resolve_refund")
    async def resolve_refund(self, refund_id: str) -> RefundState:
        request = pb.ResolveRefundRequest(refund_id=refund_id)
        return _to_refund((await call_service(self._payments.ResolveRefund, request)).refund)

    @activity.defn(name="close_refund")
    async def close_refund(self, request: CloseRefundRequest) -> bool:
        response = await call_service(self._payments.CloseRefund, to_proto(pb.CloseRefundRequest, request))
        return response.closed


class DisputeActivities(DisputeSteps):
    """See `workflows.steps.DisputeSteps`."""

    def __init__(self, *, payments: PaymentServiceStub, stripe: StripeCalls) -> None:
        self._payments = payments
        self._stripe = stripe

    @activity.defn(name="check_dispute")
    async def check_dispute(self, dispute_id: str) -> DisputeState:
        request = pb.CheckDisputeRequest(dispute_id=dispute_id)
        return _to_dispute((await self._stripe.call(self._payments.CheckDispute, request)).dispute)

    @activity.defn(name="close_dispute")
    async def close_dispute(self, request: CloseDisputeRequest) -> bool:
        response = await call_service(self._payments.CloseDispute, to_proto(pb.CloseDisputeRequest, request))
        return response.closed


def _to_refund(refund: pb.Refund) -> RefundState:
    return from_proto(RefundState, refund, refund_id=refund.id)


def _to_dispute(dispute: pb.Dispute) -> DisputeState:
    return from_proto(DisputeState, dispute, dispute_id=dispute.id)
