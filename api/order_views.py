"""What an order looks like over HTTP."""

from __future__ import annotations

from typing import cast

import structlog

from api.schemas.orders import Order, OrderSummary
from api.services import Services
from domain.orders import OrderStatus
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.payment.v1.payment_pb2 import GetClientSecretRequest
from runtime.caller import Caller
from runtime.protos import enum_mapping, from_proto
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

log = structlog.stdlib.get_logger(__name__)


async def show_order(order: pb.Order, *, caller: Caller, services: Services) -> Order:
    """The order as its reader sees it; only its owner gets the client secret, while it is PENDING."""
    return from_proto(
        Order,
        order,
        metadata=dict(order.shop_metadata),
        client_secret=await _client_secret(order, caller=caller, services=services),
    )


def show_summary(order: pb.OrderSummary) -> OrderSummary:
    """The order as a list shows it."""
    return from_proto(OrderSummary, order)


def status_to_proto(status: OrderStatus | None) -> pb.OrderStatus.ValueType:
    """A status on the wire; unspecified for None."""
    if status is None:
        return pb.ORDER_STATUS_UNSPECIFIED
    return cast("pb.OrderStatus.ValueType", enum_mapping(OrderStatus, pb.OrderStatus.DESCRIPTOR).to_proto(status))


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
