"""Totals of orders with shipping and discounts: right to the last minor unit, and never below zero."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.audit.facts import OrderFact
from cli.audit.invariants import totals_add_up
from domain.ids import new_id
from domain.money import MAX_AMOUNT
from domain.orders import (
    MAX_ADJUSTMENT,
    MAX_ADJUSTMENTS,
    MAX_QUANTITY,
    AdjustmentType,
    PriceAdjustment,
    PricedLine,
    total_change,
)
from domain.refusals import Refusal
from runtime.refusal import InvalidArgument, Refused
from services.order.model import Pricing
from services.product.service import add_up
from tests.support.audit_facts import facts

THEN = datetime(2030, 1, 1, tzinfo=UTC)
AMOUNTS = st.integers(1, 5_000) | st.integers(1, MAX_AMOUNT)
ADJUSTMENTS = st.lists(
    st.builds(PriceAdjustment, st.sampled_from(AdjustmentType), st.just("Parcel"), AMOUNTS), max_size=MAX_ADJUSTMENTS
)
LINES = st.lists(
    st.builds(PricedLine, st.just("mug"), st.integers(1, 5) | st.integers(1, MAX_QUANTITY), AMOUNTS | st.just(0)),
    min_size=1,
    max_size=5,
)


def pricing(lines: list[PricedLine], total: int) -> Pricing:
    return Pricing(lines=lines, total=total, payment_id=new_id(), payment_deadline=THEN)


@given(LINES, ADJUSTMENTS)
def test_a_total_is_that_of_lines_and_adjustments_or_refused(
    lines: list[PricedLine], adjustments: list[PriceAdjustment]
) -> None:
    shipping = sum(each.amount for each in adjustments if each.type is AdjustmentType.SHIPPING)
    discounts = sum(each.amount for each in adjustments if each.type is AdjustmentType.DISCOUNT)
    right = sum(line.quantity * line.unit_price for line in lines) + shipping - discounts
    if 0 <= right <= MAX_AMOUNT:
        assert add_up(lines, adjustment=total_change(adjustments)) == right
        return
    with pytest.raises(Refused) as caught:
        add_up(lines, adjustment=total_change(adjustments))
    assert caught.value.refusal is (Refusal.DISCOUNT_TOO_LARGE if right < 0 else Refusal.PAYMENT_REJECTED)


@given(LINES, ADJUSTMENTS, st.integers(-3, 3))
def test_an_order_takes_its_total_alone(
    lines: list[PricedLine], adjustments: list[PriceAdjustment], fault: int
) -> None:
    priced = pricing(lines, sum(line.total for line in lines) + total_change(adjustments) + fault)
    if fault:
        with pytest.raises(InvalidArgument):
            priced.check_total(adjustments)
    else:
        priced.check_total(adjustments)


def test_a_discount_may_take_all_and_not_a_minor_unit_more() -> None:
    lines = [PricedLine("mug", 2, 500)]

    assert add_up(lines, adjustment=-1_000) == 0
    with pytest.raises(Refused, match="1 more than all that they are taken from") as caught:
        add_up(lines, adjustment=-1_001)
    assert caught.value.refusal is Refusal.DISCOUNT_TOO_LARGE


@given(ADJUSTMENTS)
def test_what_adjustments_come_to_is_within_what_is_taken_over_the_wire(adjustments: list[PriceAdjustment]) -> None:
    assert abs(total_change(adjustments)) <= MAX_ADJUSTMENT < 2**63


@pytest.mark.parametrize(
    ("total", "price", "broken"),
    [
        (2_740, 2_740, []),
        (0, 0, []),
        (None, None, []),
        (2_740, 2_500, ["its total is 2740, its lines come to 2500"]),
        (2_740, None, ["its total is 2740, its lines come to None"]),
        (None, 2_500, ["its total is None, its lines come to 2500"]),
        (-1, -1, ["its total is -1"]),
    ],
)
def test_the_audit_finds_totals_that_do_not_add_up(total: int | None, price: int | None, broken: list[str]) -> None:
    order = OrderFact(
        id="1",
        status="PAID",
        seq=3,
        total=total,
        refunded=0,
        currency="EUR",
        created_at=THEN,
        updated_at=THEN,
        lines={},
        price=price,
    )

    assert [breach.what for breach in totals_add_up(facts(orders={"1": order}))] == broken
