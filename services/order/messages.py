"""Between protobuf messages and what the order service works with."""

from __future__ import annotations

from domain.order_numbers import parse_order_number
from domain.orders import OrderLine, OrderStatus, PriceAdjustment
from ordersaga.order.v1 import order_pb2 as pb
from runtime.protos import enum_mapping, from_proto
from services.order.lists import OrderFilter
from services.order.model import Guest, Mark, NewOrder, Pricing, RefundUpdate


def to_status(status: pb.OrderStatus.ValueType) -> OrderStatus | None:
    """A status from the wire; None where it is unspecified or unknown."""
    return enum_mapping(OrderStatus, pb.OrderStatus.DESCRIPTOR).from_proto(status)


def to_new_order(
    request: pb.CreateOrderRequest,
    *,
    user_id: str,
    lines: list[OrderLine],
    payment_window_seconds: int,
    guest: Guest | None = None,
    on_behalf: pb.CreateOrderOnBehalfRequest | None = None,
) -> NewOrder:
    """A checked request as a new order of `user_id`, which stands for the guest if there is one.

    `on_behalf` is what the shop's back end asks for besides.
    """
    return from_proto(
        NewOrder,
        request,
        user_id=user_id,
        lines=lines,
        payment_window_seconds=payment_window_seconds,
        guest=guest,
        on_behalf=on_behalf is not None,
        adjustments=[] if on_behalf is None else [from_proto(PriceAdjustment, each) for each in on_behalf.adjustments],
    )


def to_filter(request: pb.ListOrdersRequest, *, before: str | None) -> OrderFilter:
    """What a checked request wants to see."""
    number = parse_order_number(request.number) or request.number
    return from_proto(
        OrderFilter,
        request,
        status=to_status(request.status),
        user_id=request.user_id or None,
        number=number or None,
        before=before,
    )


def to_pending(request: pb.MarkPendingRequest) -> tuple[Mark, Pricing]:
    """What a checked request marks PENDING, and what it adds."""
    return from_proto(Mark, request, to_status=OrderStatus.PENDING), from_proto(Pricing, request)


def to_closed(request: pb.MarkClosedRequest) -> Mark:
    """What a checked request marks PAID, FAILED or CANCELLED."""
    return from_proto(Mark, request, to_status=to_status(request.status))


def to_refund_update(request: pb.MarkRefundedRequest) -> RefundUpdate:
    """What has become of a refund, from a checked request."""
    return from_proto(RefundUpdate, request)
