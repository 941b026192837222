"""Two installations on one Stripe account: each knows its own by the mark that it leaves, and lets the other's be."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cli.audit.read_outside import read_stripe
from tests.support.payment_harness import PaymentHarness, payment_harness
from tests.support.shared_postgres import PostgresServer, unique_suffix

SECOND = "second-shop"


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def second_dsn(postgres: PostgresServer, worker_id: str) -> str:
    return postgres.copy_databases(f"second_{unique_suffix(worker_id)}", ["payment"])["payment"]


@pytest.fixture
async def second(second_dsn: str) -> AsyncIterator[PaymentHarness]:
    """Another installation, on a database of its own."""
    async with payment_harness(second_dsn, stripe_app=SECOND) as harness:
        yield harness


async def test_each_marks_and_audits_what_is_its_own(second: PaymentHarness) -> None:
    payment = await second.opened("pm_card_visa")

    [intent] = await second.intents(payment.order_id)
    assert intent.metadata.to_dict()["app"] == SECOND
    assert list(await read_stripe(second.sdk, app=SECOND)) == [intent.id]
    assert await read_stripe(second.sdk, app="ordersaga") == {}


async def test_events_of_the_other_are_counted_and_stored_nowhere(
    harness: PaymentHarness, second: PaymentHarness
) -> None:
    payment = await second.opened("pm_card_visa")
    await second.refunded(payment, 600)
    before = await harness.rows("SELECT event_id FROM provider_events")
    bodies = await second.webhook_bodies("payment_intent.succeeded", "refund.created")

    await harness.deliver(bodies)

    assert len(bodies) == 2
    assert harness.components.webhooks.dropped == {"metadata": 2}
    assert await harness.rows("SELECT event_id FROM provider_events") == before
