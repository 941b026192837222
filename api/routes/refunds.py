"""Giving money of an order back, and what became of that."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, admin, signed_in_or_guest, staff
from api.idempotency import (
    REPLAYED,
    IdempotencyKey,
    OptionalKey,
    Prefer,
    check_key,
    has_idempotency_key,
    preferred_wait,
    respond,
    sent_key,
)
from api.order_details import read_refunds
from api.problems import ORDER_NOT_REFUNDABLE, ProblemError, declared
from api.references import OrderReference
from api.routes.orders import merge_lines
from api.schemas.payments import NewRefund, NewRefundApproval, Refund, RefundApproval, Refunds
from api.services import Services
from api.validation import StrictJson
from domain.refusals import Refusal
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.order.v1 import order_pb2
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import Caller
from runtime.protos import from_proto
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from runtime.validation import Violations


@post(
    "/v1/orders/{order_id:str}/refunds",
    operation_id="refundOrder",
    summary="Refund an order",
    tags=["refunds"],
    guards=[staff, has_idempotency_key],
    security=SECURITY,
    dto=StrictJson[NewRefund],
    responses={
        202: ResponseSpec(
            Refund, generate_examples=False, description="Asked for; see Location for what becomes of it."
        ),
        **declared(400, 401, 403, 404, 409, 413, 415, 422),
    },
    response_headers=[
        ResponseHeader(name="Location", documentation_only=True, description="The order's refunds."),
        REPLAYED,
    ],
)
async def refund_order(
    request: SignedInRequest,
    order_id: OrderReference,
    data: JSONBody[NewRefund],
    services: NamedDependency[Services],
    idempotency_key: IdempotencyKey,
    prefer: Prefer = "",
) -> Response[Refund]:
    """Give a part of what an order paid back, or all that is left, once per Idempotency-Key. Staff only: admins, and
    support up to a limit per order, `refund-needs-admin` above it. The shop may want a second person's approval above
    another limit: `refund-needs-approval`.

    201 once it succeeded, with order and stock following, or failed; 202 when that takes longer than `Prefer: wait=N`,
    for some banks days. 409 when nothing was paid or less is left, and while the payment is disputed.
    """
    wait = preferred_wait(prefer)
    with Violations() as violations:
        violations.check_order("order_id", order_id)
        check_key(violations, idempotency_key)
        restock = merge_lines(data.restock, violations, field="restock")
    order = await _get_order(order_id, caller=request.user, services=services)
    try:
        answer = await call(
            services.payment.RequestRefund,
            pb.RequestRefundRequest(
                order_id=order.id,
                idempotency_key=idempotency_key,
                amount=data.amount,
                restock=restock,
                ordered=[OrderLine(product_id=item.product_id, quantity=item.quantity) for item in order.items],
                note=data.note or "",
                wait_ms=wait * 1_000,
            ),
            caller=request.user,
            deadline=wait + services.deadline,
        )
    except CallRefused as refused:
        raise _to_problem(refused, order) from refused
    return respond(from_proto(Refund, answer.refund), answer, location=f"/v1/orders/{order.id}/refunds", done=201)


@post(
    "/v1/orders/{order_id:str}/refund-approvals",
    operation_id="approveRefund",
    summary="Let somebody else make a large refund",
    tags=["refunds"],
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[NewRefundApproval],
    responses=declared(400, 401, 403, 404, 409, 413, 415, 422),
    response_headers=[REPLAYED],
)
async def approve_refund(
    request: SignedInRequest,
    order_id: OrderReference,
    data: JSONBody[NewRefundApproval],
    services: NamedDependency[Services],
    idempotency_key: OptionalKey = None,
) -> Response[RefundApproval]:
    """Approve one refund of an order, of `amount` at most, that somebody else asks for within 24 hours: as the second
    person without whom `refund-needs-approval` is the answer. Once per `Idempotency-Key`. Admins only.

    409 when less is left, or `refund-needs-no-approval` when one person may give so much back.
    """
    with Violations() as violations:
        violations.check_order("order_id", order_id)
    key = sent_key(idempotency_key)
    order = await _get_order(order_id, caller=request.user, services=services)
    try:
        answer = await call(
            services.payment.ApproveRefund,
            pb.ApproveRefundRequest(order_id=order.id, idempotency_key=key, amount=data.amount, note=data.note or ""),
            caller=request.user,
            deadline=services.deadline,
        )
    except CallRefused as refused:
        raise _to_problem(refused, order) from refused
    headers = {"Cache-Control": "no-store"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(from_proto(RefundApproval, answer.approval), status_code=201, headers=headers)


@get(
    "/v1/orders/{order_id:str}/refunds",
    operation_id="listRefunds",
    summary="An order's refunds",
    tags=["refunds"],
    guards=[signed_in_or_guest],
    security=SECURITY,
    responses=declared(400, 401, 404),
)
async def list_refunds(
    request: SignedInRequest, order_id: OrderReference, services: NamedDependency[Services]
) -> Response[Refunds]:
    """Every refund of an order, the oldest first. Another customer's order answers like one that does not exist."""
    with Violations() as violations:
        violations.check_order("order_id", order_id)
    order = await _get_order(order_id, caller=request.user, services=services)
    refunds = await read_refunds(order.id, caller=request.user, services=services)
    return Response(Refunds(items=list(refunds)), headers={"Cache-Control": "no-store"})


async def _get_order(order_id: str, *, caller: Caller, services: Services) -> order_pb2.Order:
    """The order, if the caller may know of it."""
    request = order_pb2.GetOrderRequest(order_id=order_id)
    return (await call(services.order.GetOrder, request, caller=caller, deadline=services.deadline)).order


def _to_problem(refused: CallRefused, order: order_pb2.Order) -> Exception:
    """What is answered when the payment service refuses."""
    if refused.refusal is Refusal.PAYMENT_NOT_FOUND:
        return ProblemError(ORDER_NOT_REFUNDABLE, f"order {order.number} has no payment")
    return refused
