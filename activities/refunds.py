"""Steps of refunds and disputes, at the payment service."""

from __future__ import annotations

from datetime import UTC

from temporalio import activity

from activities.calling import call_service
from domain.orders import OrderLine
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from domain.saga import CloseDisputeRequest, CloseRefundRequest, DisputeState, RefundState
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from workflows.steps import DisputeSteps, RefundSteps


class RefundActivities(RefundSteps):
    """See `workflows.steps.RefundSteps`."""

    def __init__(self, *, payments: PaymentServiceStub) -> None:
        self._payments = payments

    @activity.defn(name="carry_out_refund")
    async def carry_out_refund(self, refund_id: str) -> RefundState:
        request = pb.CarryOutRefundRequest(refund_id=refund_id)
        return _to_refund((await call_service(self._payments.CarryOutRefund, request)).refund)

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
        response = await call_service(
            self._payments.CloseRefund, pb.CloseRefundRequest(refund_id=request.refund_id, version=request.version)
        )
        return response.closed


class DisputeActivities(DisputeSteps):
    """See `workflows.steps.DisputeSteps`."""

    def __init__(self, *, payments: PaymentServiceStub) -> None:
        self._payments = payments

    @activity.defn(name="check_dispute")
    async def check_dispute(self, dispute_id: str) -> DisputeState:
        request = pb.CheckDisputeRequest(dispute_id=dispute_id)
        return _to_dispute((await call_service(self._payments.CheckDispute, request)).dispute)

    @activity.defn(name="close_dispute")
    async def close_dispute(self, request: CloseDisputeRequest) -> bool:
        response = await call_service(
            self._payments.CloseDispute, pb.CloseDisputeRequest(dispute_id=request.dispute_id, version=request.version)
        )
        return response.closed


def _to_refund(refund: pb.Refund) -> RefundState:
    return RefundState(
        refund_id=refund.id,
        order_id=refund.order_id,
        status=RefundStatus(pb.RefundStatus.Name(refund.status).removeprefix("REFUND_STATUS_")),
        amount=refund.amount,
        currency=refund.currency,
        failure_reason=refund.failure_reason or None,
        origin=RefundOrigin(pb.RefundOrigin.Name(refund.origin).removeprefix("REFUND_ORIGIN_")),
        restock=[OrderLine(product_id=line.product_id, quantity=line.quantity) for line in refund.restock],
        restock_id=refund.restock_id,
        version=refund.version,
    )


def _to_dispute(dispute: pb.Dispute) -> DisputeState:
    return DisputeState(
        dispute_id=dispute.id,
        order_id=dispute.order_id,
        status=DisputeStatus(pb.DisputeStatus.Name(dispute.status).removeprefix("DISPUTE_STATUS_")),
        reason=dispute.reason,
        amount=dispute.amount,
        currency=dispute.currency,
        respond_by=dispute.respond_by.ToDatetime(tzinfo=UTC) if dispute.HasField("respond_by") else None,
        version=dispute.version,
    )
