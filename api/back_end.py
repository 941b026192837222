"""Orders that the shop's back end places for its customers: what it alone may say of one, and how it is sent on."""

from __future__ import annotations

from collections.abc import Sequence

from api.auth import SignedInRequest, verify_token
from api.problems import BACK_END_ONLY, FieldError, ProblemError
from api.schemas.lines import PriceAdjustment
from api.services import Services
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import CallerRole
from runtime.protos import to_proto
from runtime.rpc_client import call


def require_back_end(request: SignedInRequest, fields: Sequence[str]) -> None:
    """Refuse fields that a customer's browser may not give.

    Raises:
        ProblemError: BACK_END_ONLY, or why the token says nothing of who asks.
    """
    if not fields or request.user.role is CallerRole.ADMIN:
        return
    if request.user.role is CallerRole.ANONYMOUS:
        verify_token(request, optional=True)
    raise ProblemError(
        BACK_END_ONLY,
        f"{' and '.join(fields)}: the shop's back end gives this, with the access token of an admin's account.",
        violations=[FieldError(field, "may be given by the shop's back end alone") for field in fields],
    )


async def place_on_behalf(
    order: pb.CreateOrderRequest,
    adjustments: Sequence[PriceAdjustment],
    *,
    of: str | pb.Guest,
    request: SignedInRequest,
    services: Services,
) -> pb.CreateOrderOnBehalfResponse:
    """Place an order of the account with this id, or of this guest, and wait as long as it says.

    Raises:
        CallRefused: the service refused.
        ServiceUnavailable: it does not answer.
    """
    message = pb.CreateOrderOnBehalfRequest(
        order=order, adjustments=[to_proto(pb.PriceAdjustment, adjustment) for adjustment in adjustments]
    )
    if isinstance(of, str):
        message.user_id = of
    else:
        message.guest.CopyFrom(of)
    deadline = order.wait_ms / 1_000 + services.deadline
    return await call(services.order.CreateOrderOnBehalf, message, caller=request.user, deadline=deadline)
