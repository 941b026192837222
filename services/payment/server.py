"""gRPC of the payment service: each room has its methods; and the process that serves them."""

from __future__ import annotations

from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.process import Lifecycle
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from services.payment.bootstrap import PaymentComponents, bootstrap
from services.payment.disputes.server import DisputeRpcs
from services.payment.payments.server import PaymentRpcs
from services.payment.refunds.server import RefundRpcs
from services.payment.webhooks.server import WebhookRpcs


class PaymentServicer(PaymentRpcs, RefundRpcs, DisputeRpcs, WebhookRpcs, PaymentServiceServicer):
    """The payment service over gRPC."""

    def __init__(self, components: PaymentComponents) -> None:
        self._payments = components.payments
        self._refunds = components.refunds
        self._approvals = components.approvals
        self._disputes = components.disputes
        self._webhooks = components.webhooks
        self._event_desk = components.event_desk


def grpc_service(components: PaymentComponents) -> GrpcService:
    """The service as it is served."""
    return GrpcService(
        pb.DESCRIPTOR.services_by_name["PaymentService"],
        PaymentServicer(components),
        add_PaymentServiceServicer_to_server,
    )


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve, process what comes from Stripe, and keep workflows going until the process stops."""
    async with bootstrap(settings) as components:
        await serve(
            settings,
            lifecycle,
            grpc_service(components),
            on_call=on_call_service(Part.PAYMENT, components.database, components.on_call),
            checks=components.checks,
            measurements=components.measurements,
            background=components.background,
        )
