"""An order's status on the wire and in our words, for all who speak to the order service, and for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.orders import OrderStatus
from ordersaga.order.v1 import order_pb2 as pb

TO_PROTO: Final[Mapping[OrderStatus, pb.OrderStatus.ValueType]] = {
    OrderStatus.RECEIVED: pb.ORDER_STATUS_RECEIVED,
    OrderStatus.PENDING: pb.ORDER_STATUS_PENDING,
    OrderStatus.PAID: pb.ORDER_STATUS_PAID,
    OrderStatus.FAILED: pb.ORDER_STATUS_FAILED,
    OrderStatus.CANCELLED: pb.ORDER_STATUS_CANCELLED,
    OrderStatus.PARTIALLY_REFUNDED: pb.ORDER_STATUS_PARTIALLY_REFUNDED,
    OrderStatus.REFUNDED: pb.ORDER_STATUS_REFUNDED,
}
FROM_PROTO: Final[Mapping[pb.OrderStatus.ValueType, OrderStatus]] = {theirs: ours for ours, theirs in TO_PROTO.items()}
