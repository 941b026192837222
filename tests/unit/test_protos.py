"""Between protobuf messages and values of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
import pytest

from domain.orders import OrderLine
from domain.refunds import RefundStatus
from ordersaga.common.v1.order_line_pb2 import OrderLine as OrderLineMessage
from ordersaga.order.v1 import order_pb2
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.protos import EnumMapping, from_proto, to_proto

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Some of the fields of a refund, and one that is not on the wire."""

    id: str
    status: RefundStatus
    amount: int
    failure_reason: str | None
    restock: tuple[OrderLine, ...]
    created_at: datetime
    generation: int = 0


REFUND = Refund(
    id="r1",
    status=RefundStatus.SUCCEEDED,
    amount=500,
    failure_reason=None,
    restock=(OrderLine("p1", 2),),
    created_at=AT,
)


def test_a_value_goes_on_the_wire_by_the_names_and_types_of_its_fields() -> None:
    message = to_proto(pb.Refund, REFUND, order_id="o1", payment_id=None)

    assert message.status == pb.REFUND_STATUS_SUCCEEDED
    assert (message.id, message.amount, message.order_id, message.payment_id) == ("r1", 500, "o1", "")
    assert message.failure_reason == ""
    assert list(message.restock) == [OrderLineMessage(product_id="p1", quantity=2)]
    assert message.created_at.ToDatetime(tzinfo=UTC) == AT


def test_what_goes_on_the_wire_comes_back_as_it_was() -> None:
    assert from_proto(Refund, to_proto(pb.Refund, REFUND)) == REFUND


def test_what_is_optional_is_none_where_it_is_missing_and_zero_where_it_is_zero() -> None:
    @dataclass(frozen=True, slots=True)
    class Order:
        total: int | None
        payment_deadline: datetime | None

    assert from_proto(Order, order_pb2.Order()) == Order(None, None)
    assert from_proto(Order, order_pb2.Order(total=0)) == Order(0, None)
    assert from_proto(Order, to_proto(order_pb2.Order, Order(0, AT))) == Order(0, AT)


def test_a_map_goes_on_the_wire_and_comes_back() -> None:
    @dataclass(frozen=True, slots=True)
    class Order:
        shop_metadata: dict[str, str]

    order = Order({"cart": "web-4711", "": ""})

    assert from_proto(Order, to_proto(order_pb2.Order, order)) == order
    assert from_proto(Order, order_pb2.Order()) == Order({})


def test_what_crosses_http_is_made_of_the_message_too() -> None:
    class Shown(msgspec.Struct, frozen=True, kw_only=True, rename={"created_at": "at"}):
        id: str
        status: RefundStatus
        restock: list[OrderLine]
        failure_reason: str | None
        created_at: datetime

    shown = from_proto(Shown, to_proto(pb.Refund, REFUND))

    assert shown == Shown(
        id="r1", status=RefundStatus.SUCCEEDED, restock=[OrderLine("p1", 2)], failure_reason=None, created_at=AT
    )


def test_a_value_of_an_enum_that_we_do_not_know_is_refused_and_not_taken_for_another() -> None:
    with pytest.raises(ValueError, match=r"0 is no value of ordersaga.payment.v1.RefundStatus"):
        from_proto(Refund, pb.Refund())


def test_an_enum_of_ours_that_is_not_on_the_wire_is_found_when_the_mapping_is_made() -> None:
    class Status(StrEnum):
        SUCCEEDED = "SUCCEEDED"
        LOST = "LOST"

    with pytest.raises(LookupError, match="RefundStatus lacks LOST"):
        EnumMapping(Status, pb.RefundStatus.DESCRIPTOR)


def test_every_member_of_an_enum_has_a_number_of_its_own_and_comes_back() -> None:
    mapping = EnumMapping(RefundStatus, pb.RefundStatus.DESCRIPTOR)

    assert [mapping.from_proto(mapping.to_proto(status)) for status in RefundStatus] == list(RefundStatus)
    assert mapping.from_proto(pb.REFUND_STATUS_UNSPECIFIED) is None
