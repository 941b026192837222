"""Orders without an account: placing one, finding it again, and having it forgotten who placed it.

Whoever placed an order as a guest gets a token for it, in the answer and in the link of the first mail. With it they
ask as the owner of an account would, about this order alone.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from litestar import Response, delete, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody

from api.auth import (
    OPTIONAL_SECURITY,
    SECURITY,
    AnyRequest,
    SignedInRequest,
    guest_or_back_end,
    staff_or_guest,
)
from api.back_end import place_on_behalf, require_back_end
from api.idempotency import (
    Prefer,
    answer_headers,
    answers,
    check_key,
    has_idempotency_key,
    preferred_wait,
    respond,
)
from api.limits.guards import within_guest_link_limits, within_guest_order_limits
from api.order_views import show_order
from api.problems import declared
from api.references import OrderReference
from api.routes.orders import merge_lines
from api.schemas.fields import Empty
from api.schemas.guests import GuestLinkRequest, NewGuestOrder, PlacedGuestOrder
from api.services import Services
from api.validation import StrictJson
from domain.limits import MAX_IDEMPOTENCY_KEY, MIN_GUEST_KEY
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import ANONYMOUS, Caller, CallerRole
from runtime.protos import from_timestamp, to_proto
from runtime.rpc_client import call
from runtime.validation import Violations

GuestKey: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        description=f"{MIN_GUEST_KEY} to {MAX_IDEMPOTENCY_KEY} printable ASCII characters that nobody guesses,"
        " such as a UUID, chosen anew for each order.",
        schema_extra={"minLength": MIN_GUEST_KEY, "maxLength": MAX_IDEMPOTENCY_KEY},  # `check_key` has better words
    ),
]


@post(
    "/v1/guest-orders",
    operation_id="placeGuestOrder",
    summary="Place an order without an account",
    tags=["guests"],
    guards=[guest_or_back_end, has_idempotency_key],
    security=OPTIONAL_SECURITY,
    dto=StrictJson[NewGuestOrder],
    responses=answers(
        PlacedGuestOrder,
        accepted="Accepted; see Location for what becomes of it.",
        problems=(400, 401, 403, 409, 413, 415, 422),
    ),
    response_headers=answer_headers(location="The order."),
)
async def place_guest_order(
    request: SignedInRequest,
    data: JSONBody[NewGuestOrder],
    services: NamedDependency[Services],
    idempotency_key: GuestKey,
    prefer: Prefer = "",
) -> Response[PlacedGuestOrder]:
    """Place an order with an e-mail address and no account, once per address and Idempotency-Key; 201, 202 and repeats
    as for `placeOrder`.

    The answer has a token for this one order, and so has the one mail that goes to the address before the order is
    paid. A repeat of the whole request has it, too, so the key has to be a secret: at least 16 characters that nobody
    guesses, such as a UUID. The order becomes an account's once the holder of one has confirmed this address.

    One address may have fewer unpaid orders than an account. `guest-checkout-off` where the shop wants accounts.

    Whose token came matters only with `adjustments`: these are for the shop's back end, as for `placeOrder`, which
    hands the token for the order on to the guest.
    """
    with Violations() as violations:
        check_key(violations, idempotency_key)
        if len(idempotency_key) < MIN_GUEST_KEY:
            violations.add("Idempotency-Key", f"must have at least {MIN_GUEST_KEY} characters that nobody guesses")
        violations.check_email("email", data.email)
        lines = merge_lines(data.lines, violations)
    require_back_end(request, [] if data.adjustments is None else ["adjustments"])
    await within_guest_order_limits(request, data.email)
    wait = preferred_wait(prefer)
    order = to_proto(
        pb.CreateOrderRequest,
        data,
        lines=lines,
        shop_metadata=data.metadata,
        idempotency_key=idempotency_key,
        wait_ms=wait * 1_000,
    )
    answer: pb.CreateGuestOrderResponse | pb.CreateOrderOnBehalfResponse
    if data.adjustments is None:
        answer = await call(
            services.order.CreateGuestOrder,
            pb.CreateGuestOrderRequest(order=order, email=data.email, name=data.name or ""),
            caller=ANONYMOUS,
            deadline=wait + services.deadline,
        )
    else:
        answer = await place_on_behalf(
            order,
            data.adjustments,
            of=pb.Guest(email=data.email, name=data.name or ""),
            request=request,
            services=services,
        )
    placed = PlacedGuestOrder(
        order=await show_order(answer.order, caller=_guest_of(answer), services=services),
        access_token=answer.token or None,
        expires_at=from_timestamp(answer.token_expires_at) if answer.token else None,
    )
    return respond(placed, answer, location=f"/v1/orders/{answer.order.id}", done=201)


@post(
    "/v1/guest-links",
    operation_id="requestGuestLink",
    summary="Lost link: have it mailed once more",
    tags=["guests"],
    status_code=202,
    dto=StrictJson[GuestLinkRequest],
    responses=declared(400, 413, 415),
)
async def request_guest_link(
    request: AnyRequest, data: JSONBody[GuestLinkRequest], services: NamedDependency[Services]
) -> Empty:
    """Have the link to an order mailed to the address that it was placed with as a guest, for 30 days after its end.

    Whether there is such an order, and whether the address is the one, neither the answer nor its time says.
    """
    await within_guest_link_limits(request, data.email)
    await call(
        services.order.RequestGuestLink,
        pb.RequestGuestLinkRequest(order_number=data.number, email=data.email),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    return Empty()


@delete(
    "/v1/orders/{order_id:str}/guest",
    operation_id="eraseGuest",
    summary="Erase who placed an order as a guest",
    tags=["guests"],
    guards=[staff_or_guest],
    security=SECURITY,
    responses=declared(400, 401, 403, 404, 409),
)
async def erase_guest(request: SignedInRequest, order_id: OrderReference, services: NamedDependency[Services]) -> None:
    """Forget who placed an order without an account, once it has ended. Staff only, and the guest themselves.

    The order stays, without name and address. `order-still-open` before its end; `order-has-no-guest` where an account
    has it, which is erased instead. A repeat is no error.
    """
    with Violations() as violations:
        violations.check_order("order_id", order_id)
    await call(
        services.order.EraseGuest,
        pb.EraseGuestRequest(order_id=order_id),
        caller=request.user,
        deadline=services.deadline,
    )


def _guest_of(answer: pb.CreateGuestOrderResponse | pb.CreateOrderOnBehalfResponse) -> Caller:
    """Whoever placed the order, as the bearer of the token that they are given with the answer."""
    if not answer.token:
        return ANONYMOUS
    return Caller(CallerRole.GUEST, answer.order.user_id, answer.token, order_id=answer.order.id)
