"""What the gateway itself makes of a request for an order: headers and lines."""

from __future__ import annotations

import pytest

from api.idempotency import preferred_wait
from api.routes.orders import merge_lines
from api.schemas.lines import Line
from api.schemas.orders import ShippingAddress
from domain.ids import new_id
from ordersaga.order.v1 import order_pb2 as pb
from runtime.protos import from_proto
from runtime.refusal import InvalidArgument
from runtime.validation import Violations


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 2),
        ("wait=0", 0),
        ("wait=10", 10),
        ("WAIT = 10", 10),
        ('wait="10"', 10),
        ("wait=10; strict", 10),
        ("respond-async, wait=10", 10),
        ("wait=3, wait=10", 3),
        ("wait=31", 30),
        ("wait=999999999", 30),
        ("wait=", 2),
        ("wait=-1", 2),
        ("wait=1.5", 2),
        ("wait=soon", 2),
        ("wait=٣", 2),
        ("waiter=10", 2),
        ("wait=" + "9" * 5_000, 2),
    ],
)
def test_prefer_wait_is_honoured_up_to_30_seconds_and_ignored_when_it_makes_no_sense(prefer: str, seconds: int) -> None:
    assert preferred_wait(prefer) == seconds


def test_lines_of_one_product_are_merged_in_the_order_of_their_first() -> None:
    first, second = new_id(), new_id()
    lines = [
        Line(product_id=first, quantity=1),
        Line(product_id=second, quantity=2),
        Line(product_id=first, quantity=3),
    ]

    with Violations() as violations:
        merged = merge_lines(lines, violations)

    assert [(line.product_id, line.quantity) for line in merged] == [(first, 4), (second, 2)]


def test_a_merged_quantity_out_of_range_is_named_at_the_products_first_line() -> None:
    other, product = new_id(), new_id()
    lines = [Line(product_id=other, quantity=1), *[Line(product_id=product, quantity=6_000)] * 2]

    with pytest.raises(InvalidArgument) as caught, Violations() as violations:
        merge_lines(lines, violations)

    assert caught.value.details.keys() == {"lines[1].quantity"}


def test_what_is_forgotten_of_an_address_is_null() -> None:
    shown = from_proto(ShippingAddress, pb.Address(country="DE"))

    assert shown == ShippingAddress(
        name=None, line1=None, line2=None, city=None, region=None, postal_code=None, country="DE"
    )
