"""What events say in words, and that nothing that others write can hurt whoever reads it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiokafka import ConsumerRecord
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from cli.events.record import Wanted, read
from cli.events.words import in_words
from cli.printable import printable, readable
from domain.events import ALL_TOPICS, DEAD_LETTER_SUFFIX, TOPICS
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from ordersaga.events.v1.order_events_pb2 import OrderedLine, OrderTransitioned
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from ordersaga.events.v1.user_events_pb2 import UserChanged
from runtime.cloudevents import EventHeaders

AT = datetime(2026, 11, 30, 3, tzinfo=UTC)
HEADERS = EventHeaders(
    id="test:1:1", type="test.done", source="/ordersaga/test", subject="1", seq=1, traceparent="00-1-1-1", time=AT
).to_kafka()


def record(
    topic: str, value: bytes | None, *, headers: list[tuple[str, bytes]] = HEADERS, key: bytes | None = b"1"
) -> ConsumerRecord:
    return ConsumerRecord(topic, 0, 0, 0, 0, key, value, None, 0, 0, tuple(headers))


def says(topic: str, data: Message) -> str:
    return in_words(read(record(topic, MessageToJson(data).encode())))


PENDING = OrderTransitioned(from_status="RECEIVED", to_status="PENDING", currency="EUR", total=2500)
PENDING.payment_deadline.FromDatetime(AT)


@pytest.mark.parametrize(
    ("topic", "data", "words"),
    [
        (
            "order-events",
            OrderTransitioned(user_id="u", to_status="RECEIVED", lines=[OrderedLine(), OrderedLine()]),
            "RECEIVED; 2 lines, customer u",
        ),
        ("order-events", PENDING, "RECEIVED → PENDING; 25.00 EUR; to be paid by 2026-11-30 03:00 UTC"),
        (
            "order-events",
            OrderTransitioned(from_status="PENDING", to_status="FAILED", reason="PAYMENT_DECLINED", currency="EUR"),
            "PENDING → FAILED; PAYMENT_DECLINED",
        ),
        (
            "order-events",
            OrderTransitioned(
                from_status="PAID",
                to_status="PARTIALLY_REFUNDED",
                currency="EUR",
                total=2500,
                refund_id="r",
                refund_amount=500,
                refunded=500,
            ),
            "PAID → PARTIALLY_REFUNDED; refund r: 5.00 EUR; 5.00 EUR of 25.00 EUR refunded so far",
        ),
        (
            "payment-events",
            PaymentChanged(
                status="SUCCEEDED",
                amount=500,
                amount_received=500,
                currency="JPY",
                failed_attempts=2,
                dispute_id="dp",
                dispute_status="needs_response",
                dispute_amount=500,
            ),
            "SUCCEEDED; 500 JPY of 500 JPY received; 2 failed attempts; dispute dp about 500 JPY: needs_response",
        ),
        ("stock-events", StockChanged(quantity=-1, on_hand=4), "-1 unit; 4 on hand, 0 of them reserved"),
        (
            "product-events",
            ProductChanged(name="Mug", unit_price=1, currency="???"),
            "Mug, 1 ???; not for sale",
        ),
        ("user-events", UserChanged(user_id="u"), "account u"),
        ("user-events", UserChanged(user_id="u", link_id="l"), "account u; link l"),
        (
            "notification-events",
            NotificationChanged(channel="sms", status="FAILED"),
            "sms of its own text: FAILED",
        ),
    ],
)
def test_each_event_says_what_happened(topic: str, data: Message, words: str) -> None:
    assert says(topic, data) == words


@pytest.mark.parametrize("topic", ALL_TOPICS)
@pytest.mark.parametrize("value", [None, b"", b"\xff\x00", b"[]", b'{"at": 7}', b'{"quantity": "many"}', b"1" * 9_999])
def test_no_value_breaks_a_line(topic: str, value: bytes | None) -> None:
    for headers in (HEADERS, [], HEADERS[1:], [("ce_specversion", b"\xff")], [("ce_seq", b"one"), *HEADERS[:3]]):
        seen = read(record(topic, value, headers=headers, key=b"\x1b[2J\xff"))

        assert in_words(seen).isprintable()
        assert seen.key == "\\x1b[2J\\xff"
        assert seen.to_json()["topic"] == topic


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_words_also_for_its_dead_letters(topic: str) -> None:
    refused = [*HEADERS, ("dlq_reason", b"why\n not")]

    seen = read(record(topic + DEAD_LETTER_SUFFIX, b"{}", headers=refused))

    assert in_words(seen).startswith("REFUSED: why\\n not: ")
    assert seen.time == datetime.fromtimestamp(0, UTC)


def test_what_is_wanted_has_to_fit_all_that_is_given() -> None:
    seen = read(record("order-events", b"{}"))

    assert Wanted()(seen)
    assert Wanted(order="1", key="1", types=["nothing", "test.*"])(seen)
    assert not Wanted(order="2")(seen)
    assert not Wanted(order="1", key="2")(seen)
    assert not Wanted(types=["order.paid"])(seen)


def test_what_others_wrote_is_one_line_and_steers_no_terminal() -> None:
    assert printable("a\nb\x1b[31m\u202e é →") == "a\\nb\\x1b[31m\\u202e é →"
    assert readable(b"x" * 100, longest=10) == "xxxxxxxxxx…"
    assert readable("é".encode(), longest=10) == "é"
