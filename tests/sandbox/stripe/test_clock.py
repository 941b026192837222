"""The account's clock can be moved, over HTTP too, and what is due by then has happened."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.clock import Clock
from tests.support.stripe_double import START, Merchant, create, open_account


def test_a_clock_with_a_start_moves_only_when_it_is_advanced() -> None:
    clock = Clock(start=START)
    before = clock.now()

    clock.advance(0.5)

    assert (before, clock.now()) == (START, START + 0.5)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_time_does_not_run_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot be advanced"):
        Clock().advance(seconds)


async def test_accounts_may_share_a_clock() -> None:
    clock = Clock(start=START)
    with open_account(clock=clock) as one, open_account(clock=clock) as other:
        clock.advance(1)

        assert one.clock.now() == other.clock.now() == START + 1


async def test_what_is_due_by_a_clock_moved_over_http_has_happened(merchant: Merchant) -> None:
    began = merchant.account.clock.now()
    paid = await merchant.paid("pm_card_pendingRefund")
    made = await merchant.refund(paid)
    first = await create(merchant.client, key="k")

    moved = await merchant.switch("clock", advance=24 * 3_600)

    refund = await merchant.client.v1.refunds.retrieve_async(made.id)
    again = await create(merchant.client, key="k")
    shown = await merchant.http.get("/_sandbox/clock")
    assert (moved, shown.json()) == ({"now": began + 24 * 3_600}, moved)
    assert (made.status, refund.status) == ("pending", "succeeded")
    assert again.id != first.id


@pytest.mark.parametrize(
    ("change", "param"), [({"advance": -1}, "advance"), ({"advance": "a day"}, "advance"), ({}, "advance")]
)
async def test_a_move_that_does_not_fit_is_refused_by_name(merchant: Merchant, change: Any, param: str) -> None:
    began = merchant.account.clock.now()

    answer = await merchant.http.post("/_sandbox/clock", json=change)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert merchant.account.clock.now() == began
