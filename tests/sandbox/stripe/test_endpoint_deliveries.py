"""The Stripe double's endpoints: each gets the events that it wants, at its URL, signed with its secret."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.clock import Clock
from sandbox.stripe.endpoints import CONFIGURED_ENDPOINT, WebhookEndpoint
from sandbox.stripe.in_process import InProcessClient
from sandbox.stripe.server import StripeDouble
from tests.support.stripe_double import START, WEBHOOK_SECRET, Merchant, create, in_process_sdk, open_account, sdk
from tests.support.webhook_endpoint import URL, Endpoint, make_endpoint, served_endpoint

FORMER_VERSION: Any = "2025-03-31.basil"


async def have(client: stripe.StripeClient, endpoint: Endpoint, *events: str) -> stripe.WebhookEndpoint:
    """Make a served endpoint one of the account's."""
    made = await make_endpoint(client, *events, url=endpoint.url)
    endpoint.secret = str(made.secret)
    return made


async def test_each_endpoint_gets_its_events_signed_with_its_secret(merchant: Merchant) -> None:
    async with served_endpoint() as one, served_endpoint() as other:
        await have(merchant.client, one, "payment_intent.created", "payment_intent.succeeded")
        await have(merchant.client, other, "payment_intent.succeeded")

        await create(merchant.client, payment_method="pm_card_visa", confirm=True)
        await one.received(2)
        [succeeded] = await other.received(1)

    assert one.secret != other.secret
    assert [event.type for event in one.events] == ["payment_intent.created", "payment_intent.succeeded"]
    assert (succeeded.type, succeeded.id) == ("payment_intent.succeeded", one.events[1].id)


async def test_pending_webhooks_counts_all_endpoints(direct: stripe.StripeClient, account: StripeAccount) -> None:
    await make_endpoint(direct, "payment_intent.created")
    await make_endpoint(direct, "*")
    await make_endpoint(direct, "refund.created")

    await create(direct)
    [event] = (await direct.v1.events.list_async()).data
    [taken, _] = account.deliveries.due()
    account.deliveries.succeeded(taken)

    assert event.pending_webhooks == 2
    assert (await direct.v1.events.retrieve_async(event.id)).pending_webhooks == 1


async def test_one_endpoint_that_refuses_keeps_no_other_from_its_events(merchant: Merchant) -> None:
    async with served_endpoint() as broken, served_endpoint() as other:
        broken.statuses = [500] * 3
        await have(merchant.client, broken, "payment_intent.created")
        await have(merchant.client, other, "payment_intent.created")

        await create(merchant.client)
        await broken.received(1)
        await other.received(1)
        await outstanding(merchant.account, 1)
        merchant.advance(1)
        await broken.received(2)

    assert len(other.events) == 1


async def test_a_disabled_endpoint_gets_nothing(direct: stripe.StripeClient, account: StripeAccount) -> None:
    made = await make_endpoint(direct)
    await direct.v1.webhook_endpoints.update_async(made.id, {"disabled": True})

    await create(direct)

    assert [event.pending_webhooks for event in (await direct.v1.events.list_async()).data] == [0]
    assert account.deliveries.outstanding() == []


@pytest.mark.parametrize("ended", ["disabled", "deleted"])
async def test_what_is_outstanding_for_an_endpoint_that_ended_is_attempted_no_more(
    merchant: Merchant, ended: str
) -> None:
    async with served_endpoint() as endpoint:
        endpoint.statuses = [500]
        made = await have(merchant.client, endpoint, "payment_intent.created")
        await create(merchant.client)
        await endpoint.received(1)
        await outstanding(merchant.account, 1)

        if ended == "disabled":
            await merchant.client.v1.webhook_endpoints.update_async(made.id, {"disabled": True})
        else:
            await merchant.client.v1.webhook_endpoints.delete_async(made.id)
        merchant.advance(1)
        await outstanding(merchant.account, 0)

    assert len(endpoint.events) == 1


async def test_events_name_the_api_version_of_their_endpoint(
    direct: stripe.StripeClient, account: StripeAccount
) -> None:
    for params in ({}, {"api_version": FORMER_VERSION}):
        await make_endpoint(direct, **params)

    await create(direct)

    secrets = {endpoint.id: str(endpoint.secret) for endpoint in account.all(WebhookEndpoint)}
    events = []
    for delivery in account.deliveries.due():
        signed = account.deliveries.sign(delivery)
        events.append(stripe.Webhook.construct_event(signed.body, signed.signature, secrets[delivery.endpoint_id]))
        assert signed.url == URL
    assert [event.api_version for event in events] == [stripe.api_version, FORMER_VERSION]
    assert len({event.id for event in events}) == 1


# The one that the account is configured with


async def test_the_configured_endpoint_is_the_first_object_at_every_start(tmp_path: Path, endpoint: Endpoint) -> None:
    clock = Clock(start=START)
    seen = []
    for url, events in ((f"{endpoint.url}?1", ["payment_intent.created"]), (endpoint.url, ["payment_intent.canceled"])):
        with open_account(folder=tmp_path, clock=clock, webhook_events=events) as account:
            async with StripeDouble(account, webhook_url=url) as double, sdk(double) as client:
                await make_endpoint(client, "refund.created")
                seen.append((await client.v1.webhook_endpoints.list_async()).data[-1])
                intent = await create(client)
                await client.v1.payment_intents.cancel_async(intent.id)
                await endpoint.received(len(seen))
        clock.advance(10)

    assert [found.id for found in seen] == [CONFIGURED_ENDPOINT] * 2
    assert [found.created for found in seen] == [int(START)] * 2
    assert [found.url for found in seen] == [f"{endpoint.url}?1", endpoint.url]
    assert [event.type for event in endpoint.events] == ["payment_intent.created", "payment_intent.canceled"]
    assert [found.api_version for found in seen] == [stripe.api_version] * 2


async def test_what_calls_change_of_the_configured_endpoint_stays(tmp_path: Path, endpoint: Endpoint) -> None:
    for start in range(2):
        with open_account(folder=tmp_path, webhook_events=["*"]) as account:
            async with StripeDouble(account, webhook_url=endpoint.url) as double, sdk(double) as client:
                if start == 0:
                    await client.v1.webhook_endpoints.update_async(CONFIGURED_ENDPOINT, {"disabled": True})
                await create(client)
                assert account.deliveries.outstanding() == []
                [found] = (await client.v1.webhook_endpoints.list_async()).data

    assert (found.status, endpoint.events) == ("disabled", [])


async def test_the_configured_endpoint_goes_with_its_setting_and_outlives_a_clearing(tmp_path: Path) -> None:
    with open_account(folder=tmp_path, webhook_events=["*"]) as account:
        account.serve_endpoint(URL)
        account.clear()
        kept = account.all(WebhookEndpoint)
    with open_account(folder=tmp_path) as account:
        left = account.all(WebhookEndpoint)

    assert ([(found.id, found.url, found.secret) for found in kept], left) == (
        [(CONFIGURED_ENDPOINT, URL, WEBHOOK_SECRET)],
        [],
    )


async def test_in_process_the_configured_endpoint_gets_its_events_without_being_an_object() -> None:
    with open_account(webhook_events=["payment_intent.created"]) as account:
        client = in_process_sdk(InProcessClient(account))
        await make_endpoint(client, "payment_intent.created")
        for _ in range(2):
            await create(client)
            configured = [found for found in account.deliveries.due() if found.endpoint_id == CONFIGURED_ENDPOINT]
            [signed] = [account.deliveries.sign(delivery) for delivery in configured]
            stripe.Webhook.construct_event(signed.body, signed.signature, WEBHOOK_SECRET)
            assert CONFIGURED_ENDPOINT not in {found.id for found in account.all(WebhookEndpoint)}
            account.clear()


def test_an_account_without_endpoint_has_none_to_serve() -> None:
    with open_account() as account, pytest.raises(ValueError, match="no webhook endpoint"):
        account.serve_endpoint(URL)


async def outstanding(account: StripeAccount, count: int) -> None:
    """Wait until that many deliveries are outstanding, none of which is due."""
    async with asyncio.timeout(20):
        while len(account.deliveries.outstanding()) != count or account.deliveries.due():  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.005)
