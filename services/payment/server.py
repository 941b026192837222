"""gRPC of the payment service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc.aio

from domain.ids import new_id
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.database import Database
from runtime.process import Life
from runtime.rpc_server import serve
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from runtime.validation import Faults
from services.payment.inbox import Inbox
from services.payment.intake import EventIntake
from services.payment.repository import NewPayment, Payment
from services.payment.service import PaymentService
from services.payment.signals import TemporalSignals
from services.payment.stripe_client import StripeClient
from services.payment.sweep import Sweep

SERVICE_NAME = "ordersaga.payment.v1.PaymentService"

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentServicer(PaymentServiceServicer):
    """The payment service over gRPC."""

    def __init__(self, service: PaymentService, intake: EventIntake) -> None:
        self._service = service
        self._intake = intake

    async def CheckAmount(self, request: pb.CheckAmountRequest, context: Context) -> pb.CheckAmountResponse:
        current_caller().require(CallerRole.SERVICE)
        with Faults() as faults:
            faults.check_amount("amount", request.amount)
            faults.check_currency("currency", request.currency)
        self._service.check_amount(request.amount, request.currency)
        return pb.CheckAmountResponse()

    async def OpenPayment(self, request: pb.OpenPaymentRequest, context: Context) -> pb.OpenPaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Faults() as faults:
            faults.check_id("order_id", request.order_id)
            faults.check_id("user_id", request.user_id)
            faults.check_amount("amount", request.amount)
            faults.check_currency("currency", request.currency)
            faults.check_text("payment_method", request.payment_method, shortest=0, longest=255)
        new = NewPayment(
            id=new_id(),
            order_id=request.order_id,
            user_id=request.user_id,
            amount=request.amount,
            currency=request.currency,
            payment_method=request.payment_method or None,
        )
        return pb.OpenPaymentResponse(payment=_to_proto(await self._service.open(new)))

    async def CheckPayment(self, request: pb.CheckPaymentRequest, context: Context) -> pb.CheckPaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Faults() as faults:
            faults.check_id("order_id", request.order_id)
        payment = await self._service.check(request.order_id, refresh=request.refresh)
        return pb.CheckPaymentResponse(payment=_to_proto(payment))

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        with Faults() as faults:
            faults.check_id("payment_id", request.payment_id)
        payment = await self._service.get(request.payment_id, caller=current_caller())
        return pb.GetPaymentResponse(payment=_to_proto(payment))

    async def ClosePayment(self, request: pb.ClosePaymentRequest, context: Context) -> pb.ClosePaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Faults() as faults:
            faults.check_id("order_id", request.order_id)
        return pb.ClosePaymentResponse(payment=_to_proto(await self._service.close(request.order_id)))

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Context) -> pb.VoidPaymentResponse:
        current_caller().require(CallerRole.SERVICE)
        with Faults() as faults:
            faults.check_id("order_id", request.order_id)
        await self._service.void(request.order_id)
        return pb.VoidPaymentResponse()

    async def GetClientSecret(self, request: pb.GetClientSecretRequest, context: Context) -> pb.GetClientSecretResponse:
        caller = current_caller()
        caller.require(CallerRole.CUSTOMER, CallerRole.ADMIN, CallerRole.SERVICE)
        with Faults() as faults:
            faults.check_id("order_id", request.order_id)
        secret = await self._service.client_secret(request.order_id, caller)
        return pb.GetClientSecretResponse(client_secret=secret)

    async def ReceiveWebhook(self, request: pb.ReceiveWebhookRequest, context: Context) -> pb.ReceiveWebhookResponse:
        # Any caller: whoever signs as Stripe is Stripe.
        await self._intake.receive_webhook(body=request.body, signature=request.signature)
        return pb.ReceiveWebhookResponse()


def _to_proto(payment: Payment) -> pb.Payment:
    """With the currency that came in, once money did, so that its amount is never read in another one."""
    return pb.Payment(
        id=payment.id,
        order_id=payment.order_id,
        status=pb.PaymentStatus.Value(f"PAYMENT_STATUS_{payment.status.value}"),
        amount=payment.amount,
        currency=payment.currency_received or payment.currency,
        amount_received=payment.amount_received,
        amount_refunded=payment.amount_refunded,
        failed_attempts=payment.failed_attempts,
    )


async def run(settings: Settings, life: Life) -> None:
    """Serve, work off the inbox and sweep Stripe's events until the process stops."""
    settings.required("stripe_webhook_secret")
    stripe = StripeClient(
        api_key=settings.required("stripe_api_key"),
        api_base=settings.stripe_api_base,
        timeout=settings.stripe_timeout,
        payment_method_types=settings.stripe_payment_method_types,
    )
    database = Database(settings.required("payment_dsn"), pool_size=settings.database_pool_size)
    temporal = await connect_temporal(settings)
    service = PaymentService(database, stripe)
    inbox = Inbox(
        database,
        service,
        TemporalSignals(temporal),
        patience=timedelta(seconds=settings.unknown_event_patience),
    )
    intake = EventIntake(
        database, secrets=settings.stripe_webhook_secrets, livemode=stripe.livemode, on_stored=inbox.wake
    )
    sweep = Sweep(database, stripe, intake)
    servicer = PaymentServicer(service, intake)
    try:
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(inbox.run()),
                group.create_task(sweep.run(interval=settings.stripe_sweep_interval)),
            ]
            await serve(
                settings,
                life,
                address=settings.payment_address,
                services=(SERVICE_NAME,),
                add=lambda server: add_PaymentServiceServicer_to_server(servicer, server),
            )
            for task in background:
                task.cancel()
    finally:
        await stripe.close()
        await database.close()
