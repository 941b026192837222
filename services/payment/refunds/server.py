"""gRPC of refunds: says who may call, checks the request, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import LONGEST_WAIT_SECONDS, MAX_IDEMPOTENCY_KEY, MAX_NOTE
from domain.money import MAX_AMOUNT
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import Caller, CallerRole, current_caller
from runtime.identity import Part
from runtime.permissions import READERS, STAFF, allow
from runtime.validation import Violations
from services.payment.payments.service import PaymentService
from services.payment.refunds.approval_service import ApprovalService
from services.payment.refunds.messages import approval_to_proto, refund_to_proto
from services.payment.refunds.model import NewApproval, NewRefund
from services.payment.refunds.service import RefundService
from services.payment.stripe.gate import asking_for

Context = grpc.aio.ServicerContext[Any, Any]


class RefundRpcs:
    """The methods about refunds."""

    _payments: PaymentService
    _refunds: RefundService
    _approvals: ApprovalService

    @allow(Part.GATEWAY, *STAFF)
    @allow(Part.OPERATOR)
    async def RequestRefund(self, request: pb.RequestRefundRequest, context: Context) -> pb.RequestRefundResponse:
        new = _check_new(request, caller=current_caller())
        requested = await self._refunds.request(
            new, idempotency_key=request.idempotency_key, wait=request.wait_ms / 1_000
        )
        return pb.RequestRefundResponse(
            refund=refund_to_proto(requested.payment, requested.refund),
            accepted_only=requested.accepted_only,
            replayed=requested.replayed,
        )

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    @allow(Part.OPERATOR)
    async def ApproveRefund(self, request: pb.ApproveRefundRequest, context: Context) -> pb.ApproveRefundResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("idempotency_key", request.idempotency_key, shortest=0, longest=MAX_IDEMPOTENCY_KEY)
            violations.check_range("amount", request.amount, smallest=1, largest=MAX_AMOUNT)
            violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)
        new = NewApproval(
            order_id=request.order_id, amount=request.amount, approver=current_caller(), note=request.note
        )
        given = await self._approvals.approve(new, idempotency_key=request.idempotency_key or None)
        return pb.ApproveRefundResponse(
            approval=approval_to_proto(given.payment, given.approval), replayed=given.replayed
        )

    @allow(Part.GATEWAY, *READERS)
    async def ListRefunds(self, request: pb.ListRefundsRequest, context: Context) -> pb.ListRefundsResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        payment = await self._payments.get_of_order(request.order_id, caller=current_caller())
        return pb.ListRefundsResponse(refunds=[refund_to_proto(payment, refund) for refund in payment.refunds])

    @allow(Part.ORDER_WORKER)
    async def CarryOutRefund(self, request: pb.CarryOutRefundRequest, context: Context) -> pb.CarryOutRefundResponse:
        refund_id = _check_refund(request)
        with asking_for(request):
            payment = await self._refunds.carry_out(refund_id)
        return pb.CarryOutRefundResponse(refund=refund_to_proto(payment, payment.get_refund(refund_id)))

    @allow(Part.ORDER_WORKER)
    async def ReplaceRefund(self, request: pb.ReplaceRefundRequest, context: Context) -> pb.ReplaceRefundResponse:
        refund_id = _check_refund(request)
        payment = await self._refunds.replace_failed(refund_id)
        return pb.ReplaceRefundResponse(refund=refund_to_proto(payment, payment.get_refund(refund_id)))

    @allow(Part.ORDER_WORKER)
    async def ResolveRefund(self, request: pb.ResolveRefundRequest, context: Context) -> pb.ResolveRefundResponse:
        refund_id = _check_refund(request)
        payment = await self._refunds.resolve(refund_id)
        return pb.ResolveRefundResponse(refund=refund_to_proto(payment, payment.get_refund(refund_id)))

    @allow(Part.ORDER_WORKER)
    async def CloseRefund(self, request: pb.CloseRefundRequest, context: Context) -> pb.CloseRefundResponse:
        refund_id = _check_refund(request)
        return pb.CloseRefundResponse(closed=await self._refunds.close(refund_id, version=request.version))


def _check_new(request: pb.RequestRefundRequest, *, caller: Caller) -> NewRefund:
    with Violations() as violations:
        violations.check_id("order_id", request.order_id)
        violations.check_text("idempotency_key", request.idempotency_key, longest=MAX_IDEMPOTENCY_KEY)
        if request.HasField("amount"):
            violations.check_range("amount", request.amount, smallest=1, largest=MAX_AMOUNT)
        restock = violations.check_lines("restock", request.restock) if request.restock else []
        ordered = violations.check_lines("ordered", request.ordered) if request.ordered else []
        violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)
        violations.check_range("wait_ms", request.wait_ms, smallest=0, largest=LONGEST_WAIT_SECONDS * 1_000)
    return NewRefund(
        order_id=request.order_id,
        amount=request.amount if request.HasField("amount") else None,
        restock=tuple(restock),
        ordered=tuple(ordered),
        requested_by=caller.key,
        by_support=caller.role is CallerRole.SUPPORT,
        operator=caller.id if caller.role is CallerRole.OPERATOR else None,
        note=request.note,
    )


def _check_refund(
    request: pb.CarryOutRefundRequest | pb.ReplaceRefundRequest | pb.ResolveRefundRequest | pb.CloseRefundRequest,
) -> str:
    """The refund's id; its saga alone calls."""
    with Violations() as violations:
        violations.check_id("refund_id", request.refund_id)
    return request.refund_id
