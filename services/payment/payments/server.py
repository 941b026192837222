"""gRPC of payments: says who may call, checks the request, calls the use case, shapes the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc.aio
import structlog

from domain.ids import new_id
from domain.limits import MAX_CONCERNS, MAX_DISPUTE_ID, MAX_PAYMENT_METHOD
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import current_caller
from runtime.identity import Part
from runtime.permissions import READERS, USERS, allow
from runtime.protos import from_proto, to_proto
from runtime.validation import Violations
from services.payment.payments.messages import payment_to_proto
from services.payment.payments.model import NewPayment
from services.payment.payments.repository import FollowedTable
from services.payment.payments.service import PaymentService
from services.payment.stripe.errors import StripeUnavailable
from services.payment.stripe.gate import asking_for

log = structlog.stdlib.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

_CASES: Final[Mapping[int, FollowedTable]] = {
    pb.OPEN_CASE_KIND_REFUND: "refunds",
    pb.OPEN_CASE_KIND_DISPUTE: "disputes",
}


class PaymentRpcs:
    """The methods about payments."""

    _payments: PaymentService

    @allow(Part.ORDER_WORKER)
    async def CheckAmount(self, request: pb.CheckAmountRequest, context: Context) -> pb.CheckAmountResponse:
        with Violations() as violations:
            violations.check_amount("amount", request.amount)
            violations.check_currency("currency", request.currency)
        self._payments.check_amount(request.amount, request.currency)
        return pb.CheckAmountResponse()

    @allow(Part.ORDER_WORKER)
    async def OpenPayment(self, request: pb.OpenPaymentRequest, context: Context) -> pb.OpenPaymentResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_id("user_id", request.user_id)
            violations.check_amount("amount", request.amount)
            violations.check_currency("currency", request.currency)
            violations.check_plain_line(
                "payment_method", request.payment_method, shortest=0, longest=MAX_PAYMENT_METHOD
            )
        with asking_for(request):
            payment = await self._payments.open(from_proto(NewPayment, request, id=new_id()))
        return pb.OpenPaymentResponse(payment=payment_to_proto(payment))

    @allow(Part.ORDER_WORKER)
    @allow(Part.ORDER)
    async def CheckPayment(self, request: pb.CheckPaymentRequest, context: Context) -> pb.CheckPaymentResponse:
        order_id = _check_order(request)
        with asking_for(request):
            payment = await self._payments.check(order_id, refresh=request.refresh, outcome_only=True)
        return pb.CheckPaymentResponse(payment=payment_to_proto(payment))

    @allow(Part.GATEWAY, *USERS)
    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        with Violations() as violations:
            violations.check_id("payment_id", request.payment_id)
        payment = await self._payments.get(request.payment_id, caller=current_caller())
        return pb.GetPaymentResponse(payment=payment_to_proto(payment))

    @allow(Part.ORDER_WORKER)
    async def ClosePayment(self, request: pb.ClosePaymentRequest, context: Context) -> pb.ClosePaymentResponse:
        order_id = _check_order(request)
        with asking_for(request):
            payment = await self._payments.close(order_id)
        return pb.ClosePaymentResponse(payment=payment_to_proto(payment))

    @allow(Part.ORDER_WORKER)
    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Context) -> pb.VoidPaymentResponse:
        order_id = _check_order(request)
        with asking_for(request):
            await self._payments.void(order_id)
        return pb.VoidPaymentResponse()

    @allow(Part.GATEWAY, *READERS)
    async def GetPaymentOfOrder(
        self, request: pb.GetPaymentOfOrderRequest, context: Context
    ) -> pb.GetPaymentOfOrderResponse:
        caller = current_caller()
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        payment = await self._payments.get_of_order(request.order_id, caller=caller)
        answer = pb.GetPaymentOfOrderResponse(payment=payment_to_proto(payment))
        if caller.is_customer_of(payment.user_id or "", order_id=payment.order_id):
            try:
                answer.client_secret = await self._payments.client_secret(payment)
            except StripeUnavailable as problem:  # all else is worth an answer without it
                log.warning("payment.client_secret_missing", payment_id=payment.id, problem=str(problem))
        return answer

    @allow(Part.ORDER)
    async def AdoptPayment(self, request: pb.AdoptPaymentRequest, context: Context) -> pb.AdoptPaymentResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_id("user_id", request.user_id)
        await self._payments.adopt(request.order_id, user_id=request.user_id)
        return pb.AdoptPaymentResponse()

    @allow(Part.ORDER)
    async def ListOpenCases(self, request: pb.ListOpenCasesRequest, context: Context) -> pb.ListOpenCasesResponse:
        with Violations() as violations:
            table = _CASES.get(request.kind)
            if table is None:
                violations.add("kind", "must be refund or dispute")
            violations.check_range("most", request.most, smallest=1, largest=MAX_CONCERNS)
            if request.after and table == "refunds":
                violations.check_id("after", request.after)
            violations.check_text("after", request.after, shortest=0, longest=MAX_DISPUTE_ID)
        cases = await self._payments.list_open_cases(table or "refunds", after=request.after or None, most=request.most)
        return pb.ListOpenCasesResponse(cases=[to_proto(pb.OpenCase, case) for case in cases])


def _check_order(request: pb.CheckPaymentRequest | pb.ClosePaymentRequest | pb.VoidPaymentRequest) -> str:
    """The order's id; no user calls."""
    with Violations() as violations:
        violations.check_id("order_id", request.order_id)
    return request.order_id
