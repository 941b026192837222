"""The order database: orders with their items, histories, refunds, guests and requests to cancel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Final

from bench.filling.goods import CURRENCY
from bench.filling.ids import drawn_id
from bench.filling.sheets import Events, Sheet, to_json
from bench.filling.story import Ending, FilledOrder
from domain.events import ORDER_EVENTS
from services.order.tables import (
    CancellationRequestRow,
    GuestRow,
    IdempotencyKey,
    OrderAdjustmentRow,
    OrderItemRow,
    OrderRefundRow,
    OrderRow,
    OrderTransitionRow,
    Outbox,
)

_PUBLISHED_AFTER: Final = timedelta(milliseconds=200)
_START_AFTER: Final = timedelta(seconds=5)
_WAIT: Final = timedelta(seconds=2)
_ADDRESS: Final = to_json(
    {
        "name": "Filled Customer",
        "line1": "1 Street",
        "line2": "",
        "city": "Town",
        "region": "",
        "postal_code": "12345",
        "country": "DE",
    }
)


class OrderDatabase:
    """Its sheets, in the order in which they can be written."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._orders = Sheet(
            OrderRow,
            *("id", "number", "user_id", "currency", "status", "reason", "total", "refunded", "payment_id"),
            *("payment_deadline", "payment_method", "payment_window_seconds", "shipping_address", "shop_metadata"),
            *("seq", "created_at", "updated_at", "moved_at", "attempts", "next_attempt_at"),
        )
        self._items = Sheet(OrderItemRow, "order_id", "product_id", "quantity", "unit_price", "name", "position")
        self._adjustments = Sheet(OrderAdjustmentRow, "order_id", "type", "name", "amount", "position")
        self._transitions = Sheet(
            OrderTransitionRow, "order_id", "seq", "from_status", "to_status", "reason", "cause_id", "at"
        )
        self._refunds = Sheet(OrderRefundRow, "refund_id", "order_id", "amount", "succeeded", "version")
        self._guests = Sheet(GuestRow, "order_id", "email", "name", "looked_at", "attempts", "next_attempt_at")
        self._cancellations = Sheet(
            CancellationRequestRow,
            *("order_id", "cancelled_by", "user_id", "note", "requested_at", "settled_at", "attempts"),
            "next_attempt_at",
        )
        self._keys = Sheet(
            IdempotencyKey, "user_id", "route", "key", "request_hash", "subject_id", "answer_by", "created_at"
        )
        self._events = Events(Outbox, topic=ORDER_EVENTS, aggregate="order", random=random)
        self.sheets: Sequence[Sheet] = [
            *(self._orders, self._items, self._adjustments, self._transitions, self._refunds, self._guests),
            *(self._cancellations, self._keys, self._events),
        ]

    def add(self, order: FilledOrder) -> None:
        """One order, with all that belongs to it."""
        last = order.history[-1]
        metadata = to_json({"channel": "web", "reference": order.number}) if len(order.lines) > 1 else "{}"
        self._orders.add(
            *(order.id, order.number, order.user_id, CURRENCY, last.after, last.reason, order.total),
            *(order.refund.amount if order.refund else 0, order.payment_id, order.deadline, "pm_card_visa"),
            *(int(order.window.total_seconds()), _ADDRESS, metadata, last.seq, order.at, last.at, last.at, 0),
            order.at + _START_AFTER,
        )
        for position, line in enumerate(order.lines):
            price, name = (None, None) if order.total is None else (line.product.price, line.product.name)
            self._items.add(order.id, line.product.id, line.quantity, price, name, position)
        if order.shipping:
            self._adjustments.add(order.id, "shipping", "Shipping", order.shipping, 0)
        for arrow in order.history:
            self._transitions.add(
                order.id, arrow.seq, arrow.before, arrow.after, arrow.reason, arrow.cause_id, arrow.at
            )
        if order.refund is not None:
            self._refunds.add(order.refund.id, order.id, order.refund.amount, True, 2)
        if order.account is None:
            email = f"filled-guest-{order.number.lower()}@example.test"
            self._guests.add(order.id, email, "Filled Guest", order.at + _START_AFTER, 1, order.at + _START_AFTER)
        if order.ending is Ending.CANCELLED and order.account is not None:
            self._cancellations.add(
                order.id, "CUSTOMER", order.user_id, "", last.at, last.at + _START_AFTER, 1, last.at + _START_AFTER
            )
        if order.is_recent:
            self._add_recent(order)

    def _add_recent(self, order: FilledOrder) -> None:
        route, digest = "POST /v1/orders", f"{self._random.getrandbits(256):064x}"
        key = drawn_id(self._random, order.at)
        self._keys.add(order.user_id, route, key, digest, order.id, order.at + _WAIT, order.at)
        for arrow in order.history:
            self._events.add_event(
                arrow.event,
                of=order.id,
                seq=arrow.seq,
                key=order.id,
                cause=order.id,
                data=arrow.data,
                at=arrow.at,
                published_at=arrow.at + _PUBLISHED_AFTER,
            )
