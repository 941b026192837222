"""What an order looks like over HTTP."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from api.order_details import (
    ACTIONS,
    Expansion,
    find_payment,
    read_refunds,
    read_timeline,
    show_decline,
    show_payment,
)
from api.schemas.orders import CustomerAction, Decline, Order, OrderSummary, Timeline
from api.schemas.payments import Refund
from api.services import Services
from domain.orders import SOLD_STATUSES, OrderStatus
from domain.payments import PaymentStatus
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.payment.v1 import payment_pb2
from runtime.caller import Caller
from runtime.protos import enum_mapping, from_proto

_STATUSES: Final = enum_mapping(OrderStatus, pb.OrderStatus.DESCRIPTOR)
_PAYMENT_STATUSES: Final = enum_mapping(PaymentStatus, payment_pb2.PaymentStatus.DESCRIPTOR)


async def show_order(
    order: pb.Order, *, caller: Caller, services: Services, expansions: frozenset[Expansion] = frozenset()
) -> Order:
    """The order as its reader sees it; only its owner gets the client secret, while it is PENDING."""

    async def payment() -> payment_pb2.GetPaymentOfOrderResponse | None:
        return await find_payment(order.id, caller=caller, services=services) if order.payment_id else None

    async def refunds() -> list[Refund] | None:
        if Expansion.REFUNDS not in expansions:
            return None
        return list(await read_refunds(order.id, caller=caller, services=services))

    async def timeline() -> Timeline | None:
        if Expansion.TIMELINE not in expansions:
            return None
        return await read_timeline(order.id, caller=caller, services=services)

    found, its_refunds, its_timeline = await asyncio.gather(payment(), refunds(), timeline())
    is_pending = order.status == pb.ORDER_STATUS_PENDING
    known = None if found is None else found.payment
    return from_proto(
        Order,
        order,
        metadata=dict(order.shop_metadata),
        payment_status=None if known is None else _PAYMENT_STATUSES.from_proto(known.status),
        customer_action=_find_action(known) if is_pending else None,
        last_decline=_find_decline(known) if is_pending else None,
        refundable=_find_refundable(order, known),
        client_secret=(found.client_secret or None) if found is not None and is_pending else None,
        payment=show_payment(known) if known is not None and Expansion.PAYMENT in expansions else None,
        refunds=its_refunds,
        timeline=its_timeline,
    )


def show_summary(order: pb.OrderSummary) -> OrderSummary:
    """The order as a list shows it."""
    return from_proto(OrderSummary, order)


def status_to_proto(status: OrderStatus | None) -> pb.OrderStatus.ValueType:
    """A status on the wire; unspecified for None."""
    if status is None:
        return pb.ORDER_STATUS_UNSPECIFIED
    return cast("pb.OrderStatus.ValueType", _STATUSES.to_proto(status))


def _find_action(payment: payment_pb2.Payment | None) -> CustomerAction | None:
    return None if payment is None else ACTIONS.get(payment.status)


def _find_decline(payment: payment_pb2.Payment | None) -> Decline | None:
    return None if payment is None else show_decline(payment)


def _find_refundable(order: pb.Order, payment: payment_pb2.Payment | None) -> int | None:
    """What of it can be refunded: of a sold order alone, and nothing while a bank decides about the money."""
    if _STATUSES.from_proto(order.status) not in SOLD_STATUSES:
        return 0
    return None if payment is None else payment.amount_refundable
