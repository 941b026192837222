"""A refund that an operator types again is the same one, however they write the amount."""

from __future__ import annotations

import pytest

from cli.on_call.actions import refund_key, to_minor_units


@pytest.mark.parametrize(("one", "other"), [("12.5", "12.50"), ("12", "12.00"), ("012.5", "12.5")])
def test_an_amount_that_is_written_otherwise_is_the_same_refund(one: str, other: str) -> None:
    keys = {refund_key("order", to_minor_units(amount, "EUR")) for amount in (one, other)}

    assert len(keys) == 1


def test_another_amount_another_order_and_all_that_is_left_are_others() -> None:
    keys = [refund_key("a", 1_250), refund_key("a", 1_251), refund_key("b", 1_250), refund_key("a", None)]

    assert len(set(keys)) == 4
