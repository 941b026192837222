"""The Stripe double delivers its events signed, at least once, and breaks on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.stripe.clock import Clock
from sandbox.stripe.server import StripeDouble
from tests.support.stripe_double import START, Merchant, create, open_account, sdk
from tests.support.webhook_endpoint import Endpoint


class Stack:
    """A merchant whose endpoint gets the events."""

    def __init__(self, merchant: Merchant) -> None:
        self.account = merchant.account
        self.client = merchant.client
        self.http = merchant.http
        self.advance = merchant.advance

    async def break_with(self, **faults: Any) -> None:
        answer = await self.http.post("/_sandbox/faults", json=faults)
        assert answer.status_code == 200

    async def outstanding(self, *pauses: float) -> None:
        """Wait until deliveries are due after just these pauses, seconds."""
        due = [self.account.clock.now() + pause for pause in pauses]
        async with asyncio.timeout(20):
            while [delivery.due_at for delivery in self.account.deliveries.outstanding()] != due:  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.005)

    async def intents(self) -> list[stripe.PaymentIntent]:
        return (await self.client.v1.payment_intents.list_async()).data


Start = Callable[[], AbstractAsyncContextManager[Stack]]


@pytest.fixture
def start(tmp_path: Path, endpoint: Endpoint) -> Start:
    """Starts a double on the same folder and clock each time, with its endpoint."""
    clock = Clock(start=START)

    @asynccontextmanager
    async def started() -> AsyncIterator[Stack]:
        with open_account(folder=tmp_path, clock=clock, webhook_events=["*"]) as account:
            async with StripeDouble(account, webhook_url=endpoint.url) as double, Merchant.of(double) as merchant:
                yield Stack(merchant)

    return started


async def test_events_arrive_signed(start: Start, endpoint: Endpoint) -> None:
    async with start() as stack:
        intent = await create(stack.client)
        await stack.client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_createDispute"})

        events = await endpoint.received(5)

    assert {event.type for event in events} == {
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    }
    assert all(event.api_version == stripe.api_version for event in events)
    [succeeded] = [event for event in events if event.type == "payment_intent.succeeded"]
    assert (succeeded.data.object["id"], succeeded.data.object["status"]) == (intent.id, "succeeded")


async def test_an_endpoint_receives_only_the_types_of_event_that_are_enabled(endpoint: Endpoint) -> None:
    enabled = ["payment_intent.succeeded", "payment_intent.canceled"]
    with open_account(webhook_events=enabled) as account:
        async with StripeDouble(account, webhook_url=endpoint.url) as double, sdk(double) as client:
            paid, cancelled = await create(client), await create(client)
            await client.v1.payment_intents.confirm_async(paid.id, {"payment_method": "pm_card_visa"})
            await client.v1.payment_intents.cancel_async(cancelled.id)
            await endpoint.received(2)
            created = await client.v1.events.list_async({"type": "payment_intent.created"})

    assert [event.pending_webhooks for event in created.data] == [0, 0]
    assert sorted(event.type for event in endpoint.events) == sorted(enabled)


async def test_a_refused_event_comes_again_after_a_growing_pause(start: Start, endpoint: Endpoint) -> None:
    endpoint.statuses = [500, 404, 302]
    async with start() as stack:
        await create(stack.client)
        await endpoint.received(1)
        for pause, count in ((1, 2), (2, 3), (4, 4)):
            await stack.outstanding(pause)
            stack.advance(pause)
            await endpoint.received(count)
        await stack.outstanding()

    assert len({event.id for event in endpoint.events}) == 1


async def test_a_retry_that_is_due_by_a_clock_moved_over_http_is_made(start: Start, endpoint: Endpoint) -> None:
    endpoint.statuses = [500]
    async with start() as stack:
        await create(stack.client)
        await endpoint.received(1)
        await stack.outstanding(1)

        await stack.http.post("/_sandbox/clock", json={"advance": 1})

        await endpoint.received(2)
        await stack.outstanding()


async def test_an_account_without_endpoint_cannot_be_served_with_one(endpoint: Endpoint) -> None:
    with open_account() as account, pytest.raises(ValueError, match="no webhook endpoint"):
        StripeDouble(account, webhook_url=endpoint.url)


async def test_an_account_with_an_endpoint_cannot_be_served_without_its_url() -> None:
    with open_account(webhook_events=["*"]) as account, pytest.raises(ValueError, match="give it a URL"):
        StripeDouble(account)


async def test_an_undelivered_event_outlives_a_restart(start: Start, endpoint: Endpoint) -> None:
    endpoint.statuses = [500]
    async with start() as stack:
        await create(stack.client)
        [first] = await endpoint.received(1)
        await stack.outstanding(1)

    async with start() as stack:
        stack.advance(1)
        await endpoint.received(2)
        await stack.outstanding()

    assert [event.id for event in endpoint.events] == [first.id, first.id]


async def test_an_event_can_be_delivered_twice(start: Start, endpoint: Endpoint) -> None:
    async with start() as stack:
        await stack.break_with(webhook={"duplicate": 2})
        await create(stack.client)

        await endpoint.received(2)
        await stack.outstanding()

    assert len({event.id for event in endpoint.events}) == 1


async def test_a_dropped_event_comes_again_within_a_minute(start: Start, endpoint: Endpoint) -> None:
    async with start() as stack:
        await stack.break_with(webhook={"drop": 1.0})
        await create(stack.client)
        listed = await stack.client.v1.events.list_async()
        assert (listed.data[0].pending_webhooks, endpoint.events) == (1, [])

        stack.advance(60)

        await endpoint.received(1)


async def test_delayed_and_shuffled_events_come_in_another_order(start: Start, endpoint: Endpoint) -> None:
    async with start() as stack:
        await stack.break_with(webhook={"delay_ms": [10, 3_000], "shuffle": True}, seed=1)
        for _ in range(6):
            await create(stack.client)
        created = [event.id for event in reversed((await stack.client.v1.events.list_async()).data)]
        order = [delivery.event_id for delivery in stack.account.deliveries.outstanding()]

        stack.advance(4)
        await endpoint.received(6)

    assert order != created
    assert sorted(event.id for event in endpoint.events) == sorted(order) == sorted(created)


async def test_a_500_before_leaves_nothing_and_the_key_free(start: Start) -> None:
    async with start() as stack:
        await stack.break_with(api={"error_500_before": 1.0, "operations": ["payment_intents.create"]})
        with pytest.raises(stripe.APIError):
            await create(stack.client, key="k")
        assert await stack.intents() == []
        await stack.break_with()

        created = await create(stack.client, key="k")

        assert [intent.id for intent in await stack.intents()] == [created.id]


async def test_a_500_after_has_executed_and_is_the_answer_of_its_key(start: Start) -> None:
    async with start() as stack:
        await stack.break_with(api={"error_500_after": 1.0, "operations": ["payment_intents.create"]})
        with pytest.raises(stripe.APIError):
            await create(stack.client, key="k")
        await stack.break_with()

        with pytest.raises(stripe.APIError) as replayed:
            await create(stack.client, key="k")

        assert replayed.value.http_status == 500
        assert replayed.value.headers is not None
        assert replayed.value.headers["idempotent-replayed"] == "true"
        assert len(await stack.intents()) == 1


async def test_a_lost_response_is_given_at_the_next_call_with_its_key(start: Start) -> None:
    async with start() as stack:
        await stack.break_with(api={"lose_response": 1.0, "operations": ["payment_intents.create"]})
        with pytest.raises(stripe.APIConnectionError):
            await create(stack.client, key="k")
        await stack.break_with()

        created = await create(stack.client, key="k")

        assert [intent.id for intent in await stack.intents()] == [created.id]


@pytest.mark.parametrize(
    ("faults", "field"),
    [
        ({"webhook": {"drop": 1.1}}, "webhook.drop"),
        ({"webhook": {"duplicate": 0}}, "webhook.duplicate"),
        ({"webhook": {"delay_ms": [3_000, 0]}}, "webhook.delay_ms"),
        ({"webhook": {"lose": 1}}, "webhook.lose"),
        ({"api": {"operations": ["payment_intents.eat"]}}, "api.operations[0]"),
        ({"mail": {}}, "mail"),
    ],
)
async def test_faults_that_do_not_fit_are_refused_by_name(start: Start, faults: dict[str, Any], field: str) -> None:
    async with start() as stack:
        await stack.break_with(webhook={"drop": 0.5})

        refused = await stack.http.post("/_sandbox/faults", json=faults)
        current = await stack.http.get("/_sandbox/faults")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
    assert current.json() == {"webhook": {"drop": 0.5}}


async def test_an_unknown_path_is_answered_as_by_stripe(start: Start) -> None:
    async with start() as stack:
        unknown = await stack.http.get("/v1/coffees")
        healthy = await stack.http.get("/healthz")

    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "invalid_request_error")
    assert healthy.json() == {"status": "ok"}
