"""What became of an order's payment."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from api.auth import SECURITY, SignedInRequest, signed_in
from api.problems import declared
from api.references import PaymentId
from api.schemas.payments import Payment
from api.services import Services
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.protos import from_proto
from runtime.rpc_client import call
from runtime.validation import Violations


@get(
    "/v1/payments/{payment_id:str}",
    operation_id="getPayment",
    summary="One payment",
    tags=["payments"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(400, 401, 403, 404),
)
async def get_payment(
    request: SignedInRequest, payment_id: PaymentId, services: NamedDependency[Services]
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
    return Response(from_proto(Payment, answer.payment), headers={"Cache-Control": "no-store"})
