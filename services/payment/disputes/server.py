"""gRPC of disputes: says who may call, checks the request, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_DISPUTE_ID
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.identity import Part
from runtime.permissions import allow
from runtime.validation import Violations
from services.payment.disputes.service import DisputeService
from services.payment.payments.messages import dispute_to_proto
from services.payment.stripe.gate import asking_for

Context = grpc.aio.ServicerContext[Any, Any]


class DisputeRpcs:
    """The methods about disputes."""

    _disputes: DisputeService

    @allow(Part.ORDER_WORKER)
    async def CheckDispute(self, request: pb.CheckDisputeRequest, context: Context) -> pb.CheckDisputeResponse:
        dispute_id = _check_dispute(request)
        with asking_for(request):
            payment = await self._disputes.check(dispute_id)
        return pb.CheckDisputeResponse(dispute=dispute_to_proto(payment, payment.get_dispute(dispute_id)))

    @allow(Part.ORDER_WORKER)
    async def CloseDispute(self, request: pb.CloseDisputeRequest, context: Context) -> pb.CloseDisputeResponse:
        dispute_id = _check_dispute(request)
        return pb.CloseDisputeResponse(closed=await self._disputes.close(dispute_id, version=request.version))


def _check_dispute(request: pb.CheckDisputeRequest | pb.CloseDisputeRequest) -> str:
    """The dispute's id; its case alone calls."""
    with Violations() as violations:
        violations.check_text("dispute_id", request.dispute_id, longest=MAX_DISPUTE_ID)
    return request.dispute_id
