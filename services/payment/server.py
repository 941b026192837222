"""gRPC of the payment service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio

from domain.ids import new_id
from domain.money import MAX_AMOUNT
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.process import Lifecycle
from runtime.rpc_server import serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.payment.bootstrap import PaymentComponents, bootstrap
from services.payment.messages import dispute_to_proto, payment_to_proto, refund_to_proto
from services.payment.model import NewPayment, NewRefund

SERVICE_NAME = "ordersaga.payment.v1.PaymentService"
LONGEST_WAIT_MS: Final = 30_000

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentServicer(PaymentServiceServicer):
    """The payment service over gRPC."""

    def __init__(self, components: PaymentComponents) -> None:
        self._service = components.payments
        self._refunds = components.refunds
        self._disputes = components.disputes
        self._intake = components.webhooks

    async def CheckAmount(self, request: pb.CheckAmountRequest, context: Context) -> pb.CheckAmountResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_amount("amount", request.amount)
            violations.check_currency("currency", request.currency)
        self._service.check_amount(request.amount, request.currency)
        return pb.CheckAmountResponse()

    async def OpenPayment(self, request: pb.OpenPaymentRequest, context: Context) -> pb.OpenPaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_id("user_id", request.user_id)
            violations.check_amount("amount", request.amount)
            violations.check_currency("currency", request.currency)
            violations.check_text("payment_method", request.payment_method, shortest=0, longest=255)
        new = NewPayment(
            id=new_id(),
            order_id=request.order_id,
            user_id=request.user_id,
            amount=request.amount,
            currency=request.currency,
            payment_method=request.payment_method or None,
        )
        return pb.OpenPaymentResponse(payment=payment_to_proto(await self._service.open(new)))

    async def CheckPayment(self, request: pb.CheckPaymentRequest, context: Context) -> pb.CheckPaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        payment = await self._service.check(request.order_id, refresh=request.refresh)
        return pb.CheckPaymentResponse(payment=payment_to_proto(payment))

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        with Violations() as violations:
            violations.check_id("payment_id", request.payment_id)
        payment = await self._service.get(request.payment_id, caller=current_caller())
        return pb.GetPaymentResponse(payment=payment_to_proto(payment))

    async def ClosePayment(self, request: pb.ClosePaymentRequest, context: Context) -> pb.ClosePaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        return pb.ClosePaymentResponse(payment=payment_to_proto(await self._service.close(request.order_id)))

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Context) -> pb.VoidPaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        await self._service.void(request.order_id)
        return pb.VoidPaymentResponse()

    async def GetClientSecret(self, request: pb.GetClientSecretRequest, context: Context) -> pb.GetClientSecretResponse:
        caller = current_caller()
        caller.require(CallerRole.CUSTOMER, CallerRole.ADMIN, CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        secret = await self._service.client_secret(request.order_id, caller)
        return pb.GetClientSecretResponse(client_secret=secret)

    async def RequestRefund(self, request: pb.RequestRefundRequest, context: Context) -> pb.RequestRefundResponse:
        caller = current_caller()
        caller.require(CallerRole.ADMIN)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("idempotency_key", request.idempotency_key, longest=255)
            if request.HasField("amount"):
                violations.check_range("amount", request.amount, smallest=1, largest=MAX_AMOUNT)
            restock = violations.check_lines("restock", request.restock) if request.restock else []
            ordered = violations.check_lines("ordered", request.ordered) if request.ordered else []
            violations.check_text("why", request.why, shortest=0, longest=500)
            violations.check_range("wait_ms", request.wait_ms, smallest=0, largest=LONGEST_WAIT_MS)
        new = NewRefund(
            order_id=request.order_id,
            amount=request.amount if request.HasField("amount") else None,
            restock=tuple(restock),
            ordered=tuple(ordered),
            requested_by=caller.id,
            why=request.why,
        )
        requested = await self._refunds.request(
            new, idempotency_key=request.idempotency_key, wait=request.wait_ms / 1000
        )
        return pb.RequestRefundResponse(
            refund=refund_to_proto(requested.payment, requested.refund),
            accepted_only=requested.accepted_only,
            replayed=requested.replayed,
        )

    async def ListRefunds(self, request: pb.ListRefundsRequest, context: Context) -> pb.ListRefundsResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        payment = await self._refunds.list_refunds(request.order_id, caller=current_caller())
        return pb.ListRefundsResponse(refunds=[refund_to_proto(payment, refund) for refund in payment.refunds])

    async def CarryOutRefund(self, request: pb.CarryOutRefundRequest, context: Context) -> pb.CarryOutRefundResponse:
        refund_id = _check_refund(request)
        payment = await self._refunds.carry_out(refund_id)
        return pb.CarryOutRefundResponse(refund=refund_to_proto(payment, payment.get_refund(refund_id)))

    async def ReplaceRefund(self, request: pb.ReplaceRefundRequest, context: Context) -> pb.ReplaceRefundResponse:
        refund_id = _check_refund(request)
        payment = await self._refunds.replace_failed(refund_id)
        return pb.ReplaceRefundResponse(refund=refund_to_proto(payment, payment.get_refund(refund_id)))

    async def ResolveRefund(self, request: pb.ResolveRefundRequest, context: Context) -> pb.ResolveRefundResponse:
        refund_id = _check_refund(request)
        payment = await self._refunds.resolve(refund_id)
        return pb.ResolveRefundResponse(refund=refund_to_proto(payment, payment.get_refund(refund_id)))

    async def CloseRefund(self, request: pb.CloseRefundRequest, context: Context) -> pb.CloseRefundResponse:
        refund_id = _check_refund(request)
        return pb.CloseRefundResponse(closed=await self._refunds.close(refund_id, version=request.version))

    async def CheckDispute(self, request: pb.CheckDisputeRequest, context: Context) -> pb.CheckDisputeResponse:
        dispute_id = _check_dispute(request)
        payment = await self._disputes.check(dispute_id)
        return pb.CheckDisputeResponse(dispute=dispute_to_proto(payment, payment.get_dispute(dispute_id)))

    async def CloseDispute(self, request: pb.CloseDisputeRequest, context: Context) -> pb.CloseDisputeResponse:
        dispute_id = _check_dispute(request)
        return pb.CloseDisputeResponse(closed=await self._disputes.close(dispute_id, version=request.version))

    async def ReceiveWebhook(self, request: pb.ReceiveWebhookRequest, context: Context) -> pb.ReceiveWebhookResponse:
        # Any caller: whoever signs as Stripe is Stripe.
        await self._intake.receive_webhook(body=request.body, signature=request.signature)
        return pb.ReceiveWebhookResponse()


def _check_refund(
    request: pb.CarryOutRefundRequest | pb.ReplaceRefundRequest | pb.ResolveRefundRequest | pb.CloseRefundRequest,
) -> str:
    """The refund's id; its saga alone calls."""
    current_caller().require(CallerRole.SERVICE)
    with Violations() as violations:
        violations.check_id("refund_id", request.refund_id)
    return request.refund_id


def _check_dispute(request: pb.CheckDisputeRequest | pb.CloseDisputeRequest) -> str:
    """The dispute's id; its case alone calls."""
    current_caller().require(CallerRole.SERVICE)
    with Violations() as violations:
        violations.check_text("dispute_id", request.dispute_id, longest=255)
    return request.dispute_id


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve, process what comes from Stripe, and keep workflows going until the process stops."""
    async with bootstrap(settings) as components:
        servicer = PaymentServicer(components)
        await serve(
            settings,
            lifecycle,
            address=settings.payment_address,
            services=(SERVICE_NAME,),
            add=lambda server: add_PaymentServiceServicer_to_server(servicer, server),
            background=components.background,
        )
