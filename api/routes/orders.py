"""Orders: placing one, cancelling it, and reading one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from api.auth import SECURITY, SignedInRequest, signed_in, signed_in_or_guest
from api.back_end import place_on_behalf, require_back_end
from api.conditional import CONTENT_ETAG
from api.etags import content_etag
from api.idempotency import (
    IdempotencyKey,
    Prefer,
    answer_headers,
    answers,
    check_key,
    has_idempotency_key,
    preferred_wait,
    respond,
    send,
)
from api.order_details import Expand, check_expansions, read_timeline
from api.order_filters import (
    Attention,
    CreatedBefore,
    CreatedFrom,
    Customer,
    Number,
    Search,
    TotalMax,
    TotalMin,
    check_span,
)
from api.order_views import show_order, show_summary, status_to_proto
from api.problems import declared
from api.references import Cursor, OrderReference
from api.schemas.lines import Line
from api.schemas.orders import Cancellation, NewOrder, Order, OrderPage, Timeline
from api.services import Services
from api.validation import StrictJson
from domain.limits import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from domain.orders import MAX_QUANTITY, OrderStatus
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.order.v1 import order_pb2 as pb
from runtime.protos import to_proto
from runtime.refusal import InvalidArgument
from runtime.rpc_client import call
from runtime.validation import Violations


@post(
    "/v1/orders",
    operation_id="placeOrder",
    summary="Place an order",
    tags=["orders"],
    guards=[signed_in, has_idempotency_key],
    security=SECURITY,
    dto=StrictJson[NewOrder],
    responses=answers(
        Order,
        accepted="Accepted; see Location for what becomes of it.",
        problems=(400, 401, 403, 409, 413, 415, 422),
    ),
    response_headers=answer_headers(location="The order."),
)
async def place_order(
    request: SignedInRequest,
    data: JSONBody[NewOrder],
    services: NamedDependency[Services],
    idempotency_key: IdempotencyKey,
    prefer: Prefer = "",
) -> Response[Order]:
    """Place an order, once per Idempotency-Key.

    201 once it is PENDING, with the `client_secret` to pay with, or FAILED, with its reason; 202 when that takes longer
    than `Prefer: wait=N`. A repeat answers with the first status code and the order as it is now; 409
    `idempotency-key-in-use` when it would have to wait for longer than it asks for.

    While more orders come than can be done, new ones are turned away before anything of them is stored: 503 `busy`, to
    be sent again with the same key once `Retry-After` seconds have passed.

    A customer may have so many unpaid orders, holding so many units together: 409 `too-many-open-orders` or
    `too-many-held-units` beyond that, and 422 `payment-window-too-long` where they would have longer to pay than the
    shop allows.

    The shop's back end, with the access token of an admin's account, places an order for a `customer`, with shipping
    and discounts as `adjustments`; 403 `back-end-only` for everybody else. The customer reads, pays and cancels it like
    one of their own, and their limits hold. The key is the customer's, whichever account of the back end sends it, and
    apart from those that they sent themselves. An order whose discounts are more than all the rest of it is FAILED,
    with the reason DISCOUNT_TOO_LARGE; one with nothing to pay is free.
    """
    with Violations() as violations:
        check_key(violations, idempotency_key)
        lines = merge_lines(data.lines, violations)
    require_back_end(request, [field for field in ("customer", "adjustments") if getattr(data, field) is not None])
    if data.adjustments is not None and data.customer is None:
        raise InvalidArgument.of({"customer": "must say for whom the order is, since adjustments come with it"})
    message = to_proto(pb.CreateOrderRequest, data, lines=lines, shop_metadata=data.metadata)
    answer: pb.CreateOrderResponse | pb.CreateOrderOnBehalfResponse
    if data.customer is None:
        answer = await send(
            services.order.CreateOrder,
            message,
            key=idempotency_key,
            prefer=prefer,
            caller=request.user,
            services=services,
        )
    else:
        message.idempotency_key, message.wait_ms = idempotency_key, preferred_wait(prefer) * 1_000
        answer = await place_on_behalf(
            message, data.adjustments or (), of=data.customer, request=request, services=services
        )
    order = await show_order(answer.order, caller=request.user, services=services)
    return respond(order, answer, location=f"/v1/orders/{order.id}", done=201)


@post(
    "/v1/orders/{order_id:str}/cancel",
    operation_id="cancelOrder",
    summary="Cancel an order",
    tags=["orders"],
    status_code=200,
    guards=[signed_in_or_guest, has_idempotency_key],
    security=SECURITY,
    dto=StrictJson[Cancellation],
    responses=answers(
        Order,
        accepted="Requested; see Location for what becomes of it.",
        problems=(400, 401, 404, 409, 413, 415, 422),
    ),
    response_headers=answer_headers(location="The order."),
)
async def cancel_order(
    request: SignedInRequest,
    order_id: OrderReference,
    data: JSONBody[Cancellation],
    services: NamedDependency[Services],
    idempotency_key: IdempotencyKey,
    prefer: Prefer = "",
) -> Response[Order]:
    """Cancel an order that is not paid yet, once per Idempotency-Key: the owner, or staff.

    200 once it is CANCELLED, its stock released and nothing charged; 202 when that takes longer than
    `Prefer: wait=N`, for example while money is on its way; 409 `order-not-cancellable` once it is FAILED or was PAID,
    whatever of that was refunded.
    """
    with Violations() as violations:
        violations.check_order("order_id", order_id)
        check_key(violations, idempotency_key)
    answer = await send(
        services.order.CancelOrder,
        pb.CancelOrderRequest(order_id=order_id, note=data.note or ""),
        key=idempotency_key,
        prefer=prefer,
        caller=request.user,
        services=services,
    )
    order = await show_order(answer.order, caller=request.user, services=services)
    return respond(order, answer, location=f"/v1/orders/{order.id}", done=200)


@get(
    "/v1/orders",
    operation_id="listOrders",
    summary="One's orders",
    tags=["orders"],
    guards=[signed_in],
    security=SECURITY,
    responses=declared(400, 401, 403),
)
async def list_orders(
    request: SignedInRequest,
    services: NamedDependency[Services],
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE_SIZE, description="Orders on a page.")] = DEFAULT_PAGE_SIZE,
    cursor: Cursor = "",
    status: Annotated[OrderStatus | None, QueryParameter(description="Only orders that stand there.")] = None,
    number: Number = "",
    created_from: CreatedFrom = None,
    created_before: CreatedBefore = None,
    total_min: TotalMin = None,
    total_max: TotalMax = None,
    customer: Customer = "",
    attention: Attention = False,
    search: Search = "",
) -> Response[OrderPage]:
    """The caller's own orders, or everybody's for an admin, the newest first, a page at a time.

    What comes in while pages are read moves nothing. A list shows no items, addresses, client secrets or histories:
    read the order for those. `customer` and `attention` are for admins alone. With `total_min`, `total_max` or `search`
    a page may have fewer orders than `limit`, or none, and not be the last one: that has no `next_cursor`.
    """
    with Violations() as violations:
        created = check_span(violations, created_from, created_before)
        if customer:
            violations.check_id("customer", customer)
    answer = await call(
        services.order.ListOrders,
        pb.ListOrdersRequest(
            page_size=limit,
            page_token=cursor,
            status=status_to_proto(status),
            user_id=customer,
            number=number,
            total_min=total_min,
            total_max=total_max,
            needs_attention=attention,
            search=search,
            **created,
        ),
        caller=request.user,
        deadline=services.deadline,
    )
    page = OrderPage(items=[show_summary(order) for order in answer.orders], next_cursor=answer.next_page_token or None)
    return Response(page, headers={"Cache-Control": "no-store"})


@get(
    "/v1/orders/{order_id:str}",
    operation_id="getOrder",
    summary="One order",
    tags=["orders"],
    guards=[signed_in_or_guest],
    security=SECURITY,
    responses=declared(400, 401, 404),
    response_headers=[CONTENT_ETAG],
)
async def get_order(
    request: SignedInRequest,
    order_id: OrderReference,
    services: NamedDependency[Services],
    expand: Expand = "",
) -> Response[Order]:
    """One order with its history. Another customer's answers like one that does not exist."""
    with Violations() as violations:
        violations.check_order("order_id", order_id)
        expansions = check_expansions(violations, expand)
    answer = await call(
        services.order.GetOrder,
        pb.GetOrderRequest(order_id=order_id),
        caller=request.user,
        deadline=services.deadline,
    )
    order = await show_order(answer.order, caller=request.user, services=services, expansions=expansions)
    return Response(order, headers={"ETag": content_etag(order), "Cache-Control": "no-store"})


@get(
    "/v1/orders/{order_id:str}/timeline",
    operation_id="getOrderTimeline",
    summary="What happened to an order",
    tags=["orders"],
    guards=[signed_in_or_guest],
    security=SECURITY,
    responses=declared(400, 401, 404),
)
async def get_timeline(
    request: SignedInRequest, order_id: OrderReference, services: NamedDependency[Services]
) -> Response[Timeline]:
    """What happened to the order, to its payment, stock and mails, the first thing first.

    Its customer sees what concerns them; an admin all of it, with who did what, and why.
    """
    with Violations() as violations:
        violations.check_order("order_id", order_id)
    answer = await call(
        services.order.GetOrder,
        pb.GetOrderRequest(order_id=order_id),
        caller=request.user,
        deadline=services.deadline,
    )
    timeline = await read_timeline(answer.order.id, caller=request.user, services=services)
    return Response(timeline, headers={"Cache-Control": "no-store"})


def merge_lines(lines: Sequence[Line], violations: Violations, *, field: str = "lines") -> list[OrderLine]:
    """The lines with each product once, in the order of its first line; a faulty sum is named at that line."""
    first_seen: dict[str, int] = {}
    quantities: dict[str, int] = {}
    for index, line in enumerate(lines):
        first_seen.setdefault(line.product_id, index)
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    for product_id, quantity in quantities.items():
        if quantity > MAX_QUANTITY:
            violations.add(
                f"{field}[{first_seen[product_id]}].quantity",
                f"must be at most {MAX_QUANTITY} over all lines of the product, is {quantity}",
            )
    return [OrderLine(product_id=product_id, quantity=quantity) for product_id, quantity in quantities.items()]
