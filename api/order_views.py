"""What an order looks like over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from api.schemas import Address, Item, Order, OrderSummary, Transition
from api.services import Services
from domain.orders import OrderStatus
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.payment.v1.payment_pb2 import GetClientSecretRequest
from runtime.caller import Caller
from runtime.order_status import FROM_PROTO, TO_PROTO
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

log = structlog.stdlib.get_logger(__name__)


async def show_order(order: pb.Order, *, caller: Caller, services: Services) -> Order:
    """The order as its reader sees it; only its owner gets the client secret, while it is PENDING."""
    address = order.shipping_address
    return Order(
        id=order.id,
        status=FROM_PROTO[order.status],
        reason=order.reason or None,
        currency=order.currency,
        total=order.total if order.HasField("total") else None,
        refunded=order.refunded,
        items=[
            Item(
                product_id=item.product_id,
                quantity=item.quantity,
                unit_price=item.unit_price if item.HasField("unit_price") else None,
            )
            for item in order.items
        ],
        shipping_address=Address(
            name=address.name,
            line1=address.line1,
            line2=address.line2 or None,
            city=address.city,
            postal_code=address.postal_code,
            country=address.country,
        ),
        created_at=order.created_at.ToDatetime(tzinfo=UTC),
        payment_deadline=_to_datetime(order.payment_deadline) if order.HasField("payment_deadline") else None,
        payment_id=order.payment_id or None,
        client_secret=await _client_secret(order, caller=caller, services=services),
        transitions=[_to_transition(transition) for transition in order.transitions],
    )


def show_summary(order: pb.OrderSummary) -> OrderSummary:
    """The order as a list shows it."""
    return OrderSummary(
        id=order.id,
        user_id=order.user_id,
        status=FROM_PROTO[order.status],
        reason=order.reason or None,
        currency=order.currency,
        total=order.total if order.HasField("total") else None,
        refunded=order.refunded,
        line_count=order.line_count,
        created_at=_to_datetime(order.created_at),
        payment_deadline=_to_datetime(order.payment_deadline) if order.HasField("payment_deadline") else None,
        payment_id=order.payment_id or None,
    )


def status_to_proto(status: OrderStatus | None) -> pb.OrderStatus.ValueType:
    """A status on the wire; unspecified for None."""
    return pb.ORDER_STATUS_UNSPECIFIED if status is None else TO_PROTO[status]


async def _client_secret(order: pb.Order, *, caller: Caller, services: Services) -> str | None:
    """The secret, or None when there is none to have: the order itself is worth an answer without it."""
    if order.status != pb.ORDER_STATUS_PENDING or order.user_id != caller.id:
        return None
    try:
        answer = await call(
            services.payment.GetClientSecret,
            GetClientSecretRequest(order_id=order.id),
            caller=caller,
            deadline=services.deadline,
        )
    except (CallRefused, ServiceUnavailable) as error:
        log.warning("order.client_secret_missing", order_id=order.id, problem=str(error))
        return None
    return answer.client_secret or None


def _to_transition(transition: pb.Transition) -> Transition:
    return Transition(
        seq=transition.seq,
        from_status=FROM_PROTO.get(transition.from_status),
        to_status=FROM_PROTO[transition.to_status],
        reason=transition.reason or None,
        at=_to_datetime(transition.at),
    )


def _to_datetime(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
