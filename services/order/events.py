"""The events that mirror an order's transitions."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import ORDER_EVENTS
from domain.orders import EVENT_TYPES, REFUND_FAILED_EVENT, REFUNDED_EVENT, OrderStatus
from ordersaga.events.v1.order_events_pb2 import OrderedLine, OrderTransitioned
from runtime.outbox import Event
from services.order.model import OrderState, RefundNews


def transition_event(order_id: str, from_status: OrderStatus | None, state: OrderState) -> Event:
    """Tells that the order came to where it stands."""
    return _event(order_id, EVENT_TYPES[state.status], _data(order_id, from_status, state), state)


def refund_event(news: RefundNews, from_status: OrderStatus, state: OrderState, *, amount: int) -> Event:
    """Tells that a refund of so much, or Stripe's taking it back, brought the order to where it stands."""
    data = _data(news.order_id, from_status, state)
    data.refund_id, data.refund_amount = news.refund_id, amount
    return _event(news.order_id, REFUNDED_EVENT if news.succeeded else REFUND_FAILED_EVENT, data, state)


def _event(order_id: str, kind: str, data: OrderTransitioned, state: OrderState) -> Event:
    return Event(
        topic=ORDER_EVENTS,
        key=order_id,
        type=kind,
        aggregate="order",
        aggregate_id=order_id,
        seq=state.seq,
        cause_id=order_id,
        data=data,
        at=state.updated_at,
    )


def _data(order_id: str, from_status: OrderStatus | None, state: OrderState) -> OrderTransitioned:
    return OrderTransitioned(
        order_id=order_id,
        user_id=state.user_id,
        from_status=from_status or "",
        to_status=state.status,
        reason=state.reason or "",
        currency=state.currency,
        total=state.total,
        refunded=state.refunded,
        lines=[
            OrderedLine(product_id=item.product_id, quantity=item.quantity, unit_price=item.unit_price)
            for item in state.items
        ],
        at=_timestamp(state.updated_at),
        payment_deadline=None if state.payment_deadline is None else _timestamp(state.payment_deadline),
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
