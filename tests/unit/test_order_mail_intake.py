"""Which events of orders call for a mail, and what such an event must have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import ORDER_EVENTS
from domain.ids import new_id
from domain.orders import REFUND_FAILED_EVENT, REFUNDED_EVENT
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.cloudevents import EventHeaders
from runtime.kafka_consumer import Unprocessable
from services.notification.intake import to_order_event
from services.notification.model import Template


def record(kind: str, **changes: Any) -> ConsumerRecord:
    """A refund of 5.00 EUR, with all that its mail needs, unless the changes take it away (None)."""
    event = OrderTransitioned(
        order_id=new_id(), user_id=new_id(), currency="EUR", total=2_500, refunded=500, refund_amount=500
    )
    for field, value in changes.items():
        if value is None:
            event.ClearField(field)  # type: ignore[arg-type]  # any field's name
        elif isinstance(value, Timestamp):
            getattr(event, field).CopyFrom(value)
        else:
            setattr(event, field, value)
    headers = EventHeaders(
        id=f"order:{event.order_id}:4",
        type=kind,
        source="/ordersaga/order",
        subject=event.order_id,
        seq=4,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        time=datetime(2026, 11, 22, tzinfo=UTC),
    )
    value = MessageToJson(event).encode()
    return ConsumerRecord(
        topic=ORDER_EVENTS,
        partition=0,
        offset=0,
        timestamp=0,
        timestamp_type=0,
        key=event.order_id.encode(),
        value=value,
        checksum=None,
        serialized_key_size=36,
        serialized_value_size=len(value),
        headers=headers.to_kafka(),
    )


@pytest.mark.parametrize(
    ("kind", "template"),
    [(REFUNDED_EVENT, Template.ORDER_REFUNDED), (REFUND_FAILED_EVENT, Template.ORDER_REFUND_FAILED)],
)
def test_an_event_of_a_refund_makes_a_mail(kind: str, template: Template) -> None:
    event = to_order_event(record(kind))

    assert event is not None
    assert (event.template, event.seq, event.data.refund_amount) == (template, 4, 500)


@pytest.mark.parametrize("kind", ["order.received", "order.moved"])
def test_other_events_make_none(kind: str) -> None:
    assert to_order_event(record(kind)) is None


def test_a_free_order_makes_no_mail_about_its_payment() -> None:
    deadline = Timestamp(seconds=1)

    assert to_order_event(record("order.created", total=0, payment_deadline=deadline)) is None
    assert to_order_event(record("order.created", total=1, payment_deadline=deadline)) is not None
    assert to_order_event(record("order.paid", total=0)) is not None


@pytest.mark.parametrize(
    ("kind", "reason", "is_mailed"),
    [
        ("order.created", "", True),
        ("order.paid", "", True),
        (REFUNDED_EVENT, "", True),
        ("order.failed", "PAYMENT_TIMEOUT", False),
        ("order.failed", "OUT_OF_STOCK", False),
        ("order.failed", "STOCK_LOST", True),
        ("order.failed", "PAYMENT_MISMATCH", True),
        ("order.cancelled", "CUSTOMER", False),
        ("order.cancelled", "ADMIN", True),
    ],
)
def test_a_guest_is_told_of_no_end_that_whoever_ordered_can_bring_about(
    kind: str, reason: str, is_mailed: bool
) -> None:
    deadline = Timestamp(seconds=1)

    guests = to_order_event(record(kind, reason=reason, is_guest=True, payment_deadline=deadline))
    accounts = to_order_event(record(kind, reason=reason, payment_deadline=deadline))

    assert (guests is not None) is is_mailed
    assert accounts is not None


@pytest.mark.parametrize("kind", [REFUNDED_EVENT, REFUND_FAILED_EVENT])
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"refund_amount": None}, "refund_amount is missing"),
        ({"total": None}, "total is missing"),
        ({"currency": "XYZ"}, "currency is not one that we know"),
        ({"user_id": "somebody"}, "order_id and user_id must be UUIDs"),
    ],
)
def test_an_event_of_a_refund_without_what_its_mail_needs_is_set_aside(
    kind: str, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(Unprocessable, match=fault):
        to_order_event(record(kind, **changes))
