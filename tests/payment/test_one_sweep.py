"""Several payment services, one sweep: who has the turn, and who goes on when that one is gone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from domain.payments import PaymentStatus
from sandbox.stripe.faults import Operation
from services.payment.bootstrap import PaymentComponents
from tests.support.payment_harness import PaymentHarness, sweep

LIST = Operation.EVENT_LIST.value
SUCCEEDED = "payment_intent.succeeded"


async def set_back(harness: PaymentHarness, by: timedelta) -> None:
    """As if nobody had swept for so long, and it were time to."""
    async with harness.database.autocommit() as connection:
        await connection.execute("UPDATE event_sweep SET swept_until = now() - %(by)s, next_attempt_at = now()", by=by)


async def seconds_behind(harness: PaymentHarness) -> float:
    [row] = await harness.rows("SELECT extract(epoch FROM now() - swept_until)::float8 AS seconds FROM event_sweep")
    return float(row["seconds"])


async def copies(harness: PaymentHarness, count: int) -> list[PaymentComponents]:
    return [harness.components, *[await harness.another_process() for _ in range(count - 1)]]


async def test_of_four_services_one_lists_the_events_and_the_next_time_comes_after_the_interval(
    harness: PaymentHarness,
) -> None:
    services = await copies(harness, 4)
    await set_back(harness, timedelta(0))

    swept = await asyncio.gather(*(service.sweep.process_due() for service in services))
    again = await asyncio.gather(*(service.sweep.process_due() for service in services))

    assert (sorted(swept), again) == ([0, 0, 0, 1], [0, 0, 0, 0])
    assert harness.calls.made.count(LIST) == 1
    [row] = await harness.rows(
        "SELECT next_attempt_at - now() BETWEEN %(least)s AND %(most)s AS is_after_interval FROM event_sweep",
        least=timedelta(seconds=harness.settings.stripe_sweep_interval - 5),
        most=timedelta(seconds=harness.settings.stripe_sweep_interval),
    )
    assert row["is_after_interval"]


async def test_while_a_service_sweeps_no_other_one_does_and_when_it_dies_the_next_one_takes_over(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")
    first, second = await copies(harness, 2)
    await set_back(harness, timedelta(0))
    listing, never = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        listing.set()
        await never.wait()

    harness.calls.before(LIST, hang)
    dying = asyncio.create_task(first.sweep.process_due())
    await listing.wait()
    meanwhile = await second.sweep.process_due()
    await sweep(second)  # as if the lease were over
    await harness.process_events()
    never.set()
    await dying

    assert meanwhile == 0
    assert (await harness.service.check(payment.order_id, refresh=False)).status is PaymentStatus.SUCCEEDED
    assert harness.calls.made.count(LIST) == 2


async def test_a_sweep_whose_lease_has_ended_moves_no_mark(harness: PaymentHarness) -> None:
    await set_back(harness, timedelta(minutes=1))
    before = await harness.rows("SELECT swept_until FROM event_sweep")
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")

    async def lose() -> None:
        async with harness.database.autocommit() as connection:
            await connection.execute("UPDATE event_sweep SET next_attempt_at = now() + interval '1 h'")

    harness.calls.after(LIST, lose)
    await harness.components.sweep.process_due()

    assert (await harness.rows("SELECT swept_until FROM event_sweep")) == before
    assert [
        row["type"] for row in await harness.rows("SELECT type FROM provider_events WHERE status = 'RECEIVED'")
    ] == [SUCCEEDED]


async def test_after_an_outage_a_sweep_catches_up_in_parts_and_one_that_breaks_off_keeps_those(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")
    outage = timedelta(minutes=60)
    await set_back(harness, outage)

    async def break_after_the_next() -> None:
        harness.break_api("events.list", lose_response=1.0)

    harness.calls.after(LIST, break_after_the_next)
    await harness.components.sweep.process_due()
    broken_off = await seconds_behind(harness)
    harness.fix_api()
    await sweep(harness.components)
    await harness.process_events()

    assert 54 * 60 < broken_off < 56 * 60
    assert await seconds_behind(harness) < 60
    assert (await harness.service.check(payment.order_id, refresh=False)).status is PaymentStatus.SUCCEEDED
