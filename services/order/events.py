"""The events that mirror an order's transitions."""

from __future__ import annotations

from domain.events import ORDER_EVENTS
from domain.orders import EVENT_TYPES, REFUND_FAILED_EVENT, REFUNDED_EVENT, OrderStatus
from ordersaga.events.v1.order_events_pb2 import OrderedAdjustment, OrderedLine, OrderTransitioned
from runtime.outbox import Event
from runtime.protos import to_proto, to_timestamp
from services.order.model import OrderState, RefundUpdate


def transition_event(from_status: OrderStatus | None, state: OrderState) -> Event:
    """Says that the order came to where it stands."""
    return _event(EVENT_TYPES[state.status], _data(from_status, state), state)


def refund_event(update: RefundUpdate, from_status: OrderStatus, state: OrderState, *, amount: int) -> Event:
    """Says that a refund of so much, or Stripe's taking it back, brought the order to where it stands."""
    data = _data(from_status, state)
    data.refund_id, data.refund_amount = update.refund_id, amount
    return _event(REFUNDED_EVENT if update.succeeded else REFUND_FAILED_EVENT, data, state)


def _event(kind: str, data: OrderTransitioned, state: OrderState) -> Event:
    return Event(
        topic=ORDER_EVENTS,
        key=state.id,
        type=kind,
        aggregate="order",
        aggregate_id=state.id,
        seq=state.seq,
        cause_id=state.id,
        data=data,
        at=state.updated_at,
    )


def _data(from_status: OrderStatus | None, state: OrderState) -> OrderTransitioned:
    return to_proto(
        OrderTransitioned,
        state,
        order_id=state.id,
        order_number=state.number,
        from_status=from_status,
        to_status=state.status,
        lines=[to_proto(OrderedLine, item) for item in state.items],
        adjustments=[to_proto(OrderedAdjustment, adjustment) for adjustment in state.adjustments],
        at=to_timestamp(state.updated_at),
    )
