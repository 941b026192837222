"""Between protobuf messages and what the order service speaks of."""

from __future__ import annotations

from datetime import UTC

from domain.orders import OrderLine, OrderStatus, PricedLine
from ordersaga.order.v1 import order_pb2 as pb
from runtime.order_status import FROM_PROTO, TO_PROTO
from services.order.model import Address, NewOrder, Order, OrderSummary, Pricing, RefundNews, Transition


def status_to_proto(status: OrderStatus) -> pb.OrderStatus.ValueType:
    """A status on the wire."""
    return TO_PROTO[status]


def status_from_proto(status: pb.OrderStatus.ValueType) -> OrderStatus | None:
    """A status from the wire; None where it is unspecified or unknown."""
    return FROM_PROTO.get(status)


def to_order(request: pb.CreateOrderRequest, *, user_id: str, lines: list[OrderLine]) -> NewOrder:
    """A checked request as a new order of `user_id`."""
    address = request.shipping_address
    return NewOrder(
        user_id=user_id,
        lines=sorted(lines, key=lambda line: line.product_id),
        currency=request.currency,
        shipping_address=Address(
            name=address.name,
            line1=address.line1,
            line2=address.line2,
            city=address.city,
            postal_code=address.postal_code,
            country=address.country,
        ),
        payment_method=request.payment_method or None,
        expected_total=request.expected_total if request.HasField("expected_total") else None,
        payment_window_seconds=request.payment_window_seconds,
    )


def to_pricing(request: pb.MarkPendingRequest) -> Pricing:
    """What a checked mark to PENDING adds to its order."""
    return Pricing(
        lines=[
            PricedLine(product_id=line.product_id, quantity=line.quantity, unit_price=line.unit_price)
            for line in request.lines
        ],
        total=request.total,
        payment_id=request.payment_id,
        payment_deadline=request.payment_deadline.ToDatetime(tzinfo=UTC),
    )


def to_refund_news(request: pb.MarkRefundedRequest) -> RefundNews:
    """What a checked request tells of a refund."""
    return RefundNews(
        order_id=request.order_id,
        refund_id=request.refund_id,
        amount=request.amount,
        succeeded=request.succeeded,
        version=request.version,
    )


def to_proto(order: Order) -> pb.Order:
    """An order on the wire."""
    address = order.shipping_address
    message = pb.Order(
        id=order.id,
        user_id=order.user_id,
        status=status_to_proto(order.status),
        reason=order.reason or "",
        currency=order.currency,
        total=order.total,
        refunded=order.refunded,
        items=[
            pb.OrderItem(product_id=item.product_id, quantity=item.quantity, unit_price=item.unit_price)
            for item in order.items
        ],
        shipping_address=pb.Address(
            name=address.name,
            line1=address.line1,
            line2=address.line2,
            city=address.city,
            postal_code=address.postal_code,
            country=address.country,
        ),
        payment_id=order.payment_id or "",
        transitions=[_to_transition(transition) for transition in order.transitions],
    )
    message.created_at.FromDatetime(order.created_at)
    if order.payment_deadline is not None:
        message.payment_deadline.FromDatetime(order.payment_deadline)
    return message


def summary_to_proto(order: OrderSummary) -> pb.OrderSummary:
    """An order of a list on the wire."""
    message = pb.OrderSummary(
        id=order.id,
        user_id=order.user_id,
        status=status_to_proto(order.status),
        reason=order.reason or "",
        currency=order.currency,
        total=order.total,
        refunded=order.refunded,
        line_count=order.line_count,
        payment_id=order.payment_id or "",
    )
    message.created_at.FromDatetime(order.created_at)
    if order.payment_deadline is not None:
        message.payment_deadline.FromDatetime(order.payment_deadline)
    return message


def _to_transition(transition: Transition) -> pb.Transition:
    message = pb.Transition(
        seq=transition.seq,
        from_status=pb.ORDER_STATUS_UNSPECIFIED
        if transition.from_status is None
        else status_to_proto(transition.from_status),
        to_status=status_to_proto(transition.to_status),
        reason=transition.reason or "",
    )
    message.at.FromDatetime(transition.at)
    return message
