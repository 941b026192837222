"""Stripe does not answer: whoever waits for it takes nothing from those who need no answer of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from domain.payments import PaymentStatus
from sandbox.stripe.faults import ApiFaults, Faults
from services.payment.payments.model import Payment
from services.payment.stripe.copies import divide_rate
from services.payment.stripe.errors import PaymentNeedsStripe, StripeBusy
from services.payment.stripe.gate import Lane, StripeGate, asking_as
from tests.support.background import running
from tests.support.client import until
from tests.support.payment_harness import PaymentHarness, new_payment, payment_harness

VISA = "pm_card_visa"
NEVER_MS = 600_000


@asynccontextmanager
async def stripe_hangs(harness: PaymentHarness) -> AsyncIterator[None]:
    """No call is answered until the end of the context."""
    harness.account.faults.set(Faults(api=ApiFaults(delay_ms=(NEVER_MS, NEVER_MS))))
    try:
        yield
    finally:
        harness.account.faults.clear()


@asynccontextmanager
async def under_way(*calls: Awaitable[object]) -> AsyncIterator[None]:
    """The calls have begun, and nobody waits for them."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_standing(gate: StripeGate, lane: Lane, expected: tuple[int, int]) -> None:
    async def read() -> tuple[int, int]:
        return gate.standing(lane)

    await until(read, lambda found: found == expected)


async def test_who_would_rather_not_ask_is_answered_from_our_own_tables_or_refused_at_once(
    harness: PaymentHarness,
) -> None:
    waiting, paid = await harness.opened(), await harness.opened(VISA)
    asked_before = len(harness.calls.made)

    with asking_as(Lane.NONE):
        free = await harness.service.open(new_payment(amount=0))
        seen = await harness.service.check(paid.order_id, refresh=True)
        closed = await harness.service.close(paid.order_id)
        await harness.service.void(new_payment().order_id)
        for needs_stripe in (
            harness.service.open(new_payment()),
            harness.service.check(waiting.order_id, refresh=True),
            harness.service.close(waiting.order_id),
            harness.service.void(waiting.order_id),
        ):
            with pytest.raises(PaymentNeedsStripe):
                await needs_stripe

    assert {free.status, seen.status, closed.status} == {PaymentStatus.SUCCEEDED}
    assert len(harness.calls.made) == asked_before


async def test_what_was_begun_without_stripe_is_finished_with_it_and_has_one_intent(harness: PaymentHarness) -> None:
    new = new_payment()
    for _ in range(2):
        with asking_as(Lane.NONE), pytest.raises(PaymentNeedsStripe):
            await harness.service.open(new)

    payment = await harness.service.open(new)

    assert payment.status is PaymentStatus.REQUIRES_PAYMENT_METHOD
    assert [call for call in harness.calls.made if call == "payment_intents.create"] == ["payment_intents.create"]


async def test_who_would_rather_not_ask_does_not_wait_for_a_call_of_the_same_order(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    async with stripe_hangs(harness), under_way(harness.service.check(payment.order_id, refresh=True)):
        await until_standing(harness.client.gate, Lane.CALLS, (1, 0))
        with asking_as(Lane.NONE), pytest.raises(PaymentNeedsStripe):
            async with asyncio.timeout(1):
                await harness.service.void(payment.order_id)


async def paid_by_their_customers(harness: PaymentHarness, count: int) -> Sequence[Payment]:
    """Payments of which only Stripe, and its events, know that they are paid."""
    payments = [await harness.opened() for _ in range(count)]
    for payment in payments:
        assert payment.intent_id is not None
        harness.account.confirm(payment.intent_id, VISA)
    return payments


async def test_events_of_payments_that_are_known_to_be_paid_do_not_wait_behind_those_that_ask_stripe(
    databases: Mapping[str, str],
) -> None:
    async with payment_harness(databases["payment"], provider_events_in_progress=8) as harness:
        await paid_by_their_customers(harness, 12)
        unheard = await harness.webhook_bodies("payment_intent.succeeded")
        known = await harness.opened(VISA)
        [heard] = (await harness.webhook_bodies("payment_intent.succeeded"))[len(unheard) :]

        async with running(harness.components.inbox.run), stripe_hangs(harness):
            await harness.deliver(unheard)
            await until_standing(harness.client.gate, Lane.EVENTS, (2, 2))
            await harness.deliver([heard])

            async def notified() -> list[str]:
                return [order_id for order_id, _ in harness.sagas.orders]

            await until(notified, lambda found: found == [known.order_id])


async def test_steps_that_wait_for_stripe_leave_room_for_events_and_are_no_problem_of_stripes(
    databases: Mapping[str, str],
) -> None:
    async with payment_harness(databases["payment"], stripe_calls_in_progress=2) as harness:
        waiting = [await harness.opened() for _ in range(5)]
        await paid_by_their_customers(harness, 1)
        events = await harness.webhook_bodies("payment_intent.succeeded")

        async with (
            running(harness.components.inbox.run),
            stripe_hangs(harness),
            under_way(*(harness.service.check(one.order_id, refresh=True) for one in waiting[:4])),
        ):
            await until_standing(harness.client.gate, Lane.CALLS, (2, 2))
            with pytest.raises(StripeBusy):
                await harness.service.check(waiting[4].order_id, refresh=True)
            assert await harness.client.find_problem() is None
            await harness.deliver(events)
            await until_standing(harness.client.gate, Lane.EVENTS, (1, 0))


async def test_copies_of_the_service_divide_the_rate_and_one_that_is_gone_is_not_counted(
    databases: Mapping[str, str],
) -> None:
    async with payment_harness(databases["payment"], stripe_rate=60) as harness:
        gate = harness.client.gate

        async def rate() -> float | None:
            await divide_rate(harness.database, gate)
            return gate.pace.rate

        await until(rate, lambda found: found == 60)
        for other in await harness.two_processes():
            await other.listener.__aenter__()
        await until(rate, lambda found: found == 20)
        for other in await harness.two_processes():
            await other.listener.__aexit__()
        await until(rate, lambda found: found == 60)
