"""The trace of what happens because of an order."""

from __future__ import annotations

import re

from domain.ids import new_id
from runtime.tracing import event_traceparent


def test_all_steps_of_an_order_are_in_the_trace_that_has_its_id() -> None:
    order_id = new_id()

    first, second = (event_traceparent(cause_id=order_id, event_id=f"order:{order_id}:{seq}") for seq in (1, 2))

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first)
    assert first.split("-")[1] == second.split("-")[1] == order_id.replace("-", "")
    assert first != second


def test_a_step_told_twice_is_one_span() -> None:
    order_id = new_id()

    assert event_traceparent(cause_id=order_id, event_id="a") == event_traceparent(cause_id=order_id, event_id="a")
