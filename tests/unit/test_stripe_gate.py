"""The gate to Stripe: so many at once in each lane, so many a second, and nobody waits without a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.payment.stripe.errors import PaymentNeedsStripe, StripeBusy
from services.payment.stripe.gate import Lane, StripeGate, asking_as
from services.payment.stripe.pace import Pace
from tests.support.in_call import in_call


class Moments:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def hanging(gate: StripeGate, lane: Lane, count: int) -> AsyncIterator[list[asyncio.Task[None]]]:
    """So many who ask Stripe, or wait for their turn, and get no answer."""

    async def ask() -> None:
        with asking_as(lane):
            async with gate.enter():
                await asyncio.Event().wait()

    tasks = [asyncio.create_task(ask()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def enter(gate: StripeGate, lane: Lane) -> None:
    with asking_as(lane):
        async with gate.enter():
            pass


async def test_a_lane_that_is_full_takes_nothing_from_the_other() -> None:
    gate = StripeGate(rate=None, calls=2, events=1)

    async with hanging(gate, Lane.CALLS, 4):
        assert gate.standing(Lane.CALLS) == (2, 2)
        await enter(gate, Lane.EVENTS)
        with pytest.raises(StripeBusy, match="2 callers wait"):  # as many as may
            await enter(gate, Lane.CALLS)
    await enter(gate, Lane.CALLS)


async def test_a_call_does_not_wait_for_longer_than_its_caller() -> None:
    gate = StripeGate(rate=None, calls=1, events=1)

    async with hanging(gate, Lane.CALLS, 1):
        with in_call(0.3), pytest.raises(StripeBusy, match=r"no turn at Stripe \(calls\) came free in 0.0"):
            await enter(gate, Lane.CALLS)


async def test_who_would_rather_fail_does_at_once_though_there_is_room() -> None:
    gate = StripeGate(rate=None, calls=1, events=1)

    with pytest.raises(PaymentNeedsStripe):
        await enter(gate, Lane.NONE)

    assert gate.standing(Lane.CALLS) == (0, 0)


async def test_calls_go_out_at_the_rate_with_a_tenth_of_a_second_at_once() -> None:
    moments = Moments()
    pace, sent = Pace(100, monotonic=moments), 0

    for _ in range(1_000):  # ten seconds in steps of a hundredth
        for _ in range(3):
            try:
                await pace.wait(0)
            except StripeBusy:
                break
            sent += 1
        moments.now += 0.01

    assert 1_000 <= sent <= 1_011


async def test_copies_divide_the_rate_and_a_call_that_would_wait_for_too_long_takes_no_moment() -> None:
    moments = Moments()
    pace = Pace(2, monotonic=moments)
    pace.divide(4)
    assert pace.rate == 0.5

    await pace.wait(0)
    for _ in range(3):
        with pytest.raises(StripeBusy, match=r"in 2.0 s: 0.5 a second"):
            await pace.wait(1.9)
    moments.now += 2
    await pace.wait(0)
