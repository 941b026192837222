"""What became of an order's payment."""

from __future__ import annotations

from datetime import UTC

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.auth import SECURITY, SignedInRequest, signed_in
from api.problems import declared
from api.schemas import Dispute, Payment
from api.services import Services
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.rpc_client import call
from runtime.validation import Violations


@get(
    "/v1/payments/{payment_id:str}",
    operation_id="getPayment",
    summary="One payment",
    tags=["payments"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(400, 401, 404),
)
async def get_payment(
    request: SignedInRequest, payment_id: FromPath[str], services: NamedDependency[Services]
) -> Response[Payment]:
    """One payment, by the `payment_id` of its order. Another customer's answers like one that does not exist."""
    with Violations() as violations:
        violations.check_id("payment_id", payment_id)
    answer = await call(
        services.payment.GetPayment,
        pb.GetPaymentRequest(payment_id=payment_id),
        caller=request.user,
        deadline=services.deadline,
    )
    return Response(_to_payment(answer.payment), headers={"Cache-Control": "no-store"})


def _to_payment(payment: pb.Payment) -> Payment:
    return Payment(
        id=payment.id,
        order_id=payment.order_id,
        status=PaymentStatus(pb.PaymentStatus.Name(payment.status).removeprefix("PAYMENT_STATUS_")),
        currency=payment.currency,
        amount=payment.amount,
        amount_received=payment.amount_received,
        amount_refunded=payment.amount_refunded,
        failed_attempts=payment.failed_attempts,
        disputes=[_to_dispute(dispute) for dispute in payment.disputes],
    )


def _to_dispute(dispute: pb.Dispute) -> Dispute:
    return Dispute(
        id=dispute.id,
        status=DisputeStatus(pb.DisputeStatus.Name(dispute.status).removeprefix("DISPUTE_STATUS_")),
        reason=dispute.reason,
        amount=dispute.amount,
        currency=dispute.currency,
        withdrawn=dispute.withdrawn,
        respond_by=dispute.respond_by.ToDatetime(tzinfo=UTC) if dispute.HasField("respond_by") else None,
    )
