"""What is wrong with the account's webhook endpoint is said in words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from runtime.health import NotSetUp
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.faults import ApiFaults, Faults
from sandbox.stripe.in_process import InProcessClient
from services.payment.stripe.client import StripeClient
from services.payment.stripe.endpoint import find_problem, set_up
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from tests.support.account_endpoints import FORMER_VERSION, HANDLED, URL, client_of, disable, make
from tests.support.stripe_double import open_account


@pytest.fixture
def account() -> Iterator[StripeAccount]:
    with open_account() as opened:
        yield opened


@pytest.fixture
def client(account: StripeAccount) -> StripeClient:
    return client_of(InProcessClient(account))


async def test_an_endpoint_that_was_set_up_has_no_problem(client: StripeClient) -> None:
    await set_up(client, URL)

    assert await find_problem(client, URL) is None


async def test_the_endpoint_that_a_double_is_configured_with_has_no_problem() -> None:
    with open_account(webhook_events=HANDLED_EVENT_TYPES) as account:
        account.serve_endpoint(URL)

        assert await find_problem(client_of(InProcessClient(account)), URL) is None


async def test_an_endpoint_elsewhere_is_none(client: StripeClient, account: StripeAccount) -> None:
    await make(account, url="https://other.example.test/webhooks/stripe")

    problem = await find_problem(client, URL)

    assert isinstance(problem, NotSetUp)
    assert problem == f"Stripe has no webhook endpoint at {URL}; run `ordersaga setup stripe`"


async def test_a_disabled_endpoint_is_a_problem(client: StripeClient, account: StripeAccount) -> None:
    made = await make(account)
    await disable(account, made.id)

    assert await find_problem(client, URL) == (
        f"the webhook endpoint at {URL} is disabled ({made.id}), so that no event comes; run `ordersaga setup stripe`"
    )


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        (HANDLED[2:], f"does not get {HANDLED[0]}, {HANDLED[1]}"),
        ([*HANDLED, "charge.succeeded"], "gets events that nothing handles: charge.succeeded"),
        (["*"], "gets events that nothing handles: *"),
    ],
)
async def test_events_that_differ_are_named(
    client: StripeClient, account: StripeAccount, events: list[str], wrong: str
) -> None:
    made = await make(account, enabled_events=events)

    assert await find_problem(client, URL) == f"the webhook endpoint {made.id} {wrong}; run `ordersaga setup stripe`"


async def test_events_may_lack_and_be_needless_at_once(client: StripeClient, account: StripeAccount) -> None:
    await make(account, enabled_events=[*HANDLED[1:], "charge.succeeded"])

    problem = str(await find_problem(client, URL))

    assert f"does not get {HANDLED[0]};" in problem
    assert "nothing handles: charge.succeeded;" in problem


@pytest.mark.parametrize(("version", "named"), [(FORMER_VERSION, FORMER_VERSION), (None, "of the account")])
async def test_another_api_version_wants_a_new_endpoint(
    client: StripeClient, account: StripeAccount, version: str | None, named: str
) -> None:
    made = await make(account, api_version=version)

    problem = str(await find_problem(client, URL))

    assert f"{made.id} (API version {named}) does not send API version {stripe.api_version}" in problem
    assert f"(4) Disable {made.id}" in problem


async def test_several_enabled_endpoints_are_named(client: StripeClient, account: StripeAccount) -> None:
    former, current = await make(account, api_version=FORMER_VERSION), await make(account)

    assert await find_problem(client, URL) == (
        f"2 webhook endpoints are enabled at this URL: {former.id} (API version {FORMER_VERSION}), {current.id} (API "
        f"version {stripe.api_version}); disable all in Stripe's dashboard but the one whose signing secret is "
        "ORDERSAGA_STRIPE_WEBHOOK_SECRET"
    )

    await disable(account, former.id)
    assert await find_problem(client, URL) is None


async def test_a_key_that_may_not_read_endpoints_is_told_what_it_needs(account: StripeAccount) -> None:
    shop = client_of(InProcessClient(account), api_key="pk_test_shop")

    problem = str(await find_problem(shop, URL))

    assert problem.startswith(
        "cannot be asked: the key in ORDERSAGA_STRIPE_API_KEY needs the permission Webhook Endpoints: read. Stripe: "
    )


async def test_a_stripe_that_is_away_cannot_be_asked(client: StripeClient, account: StripeAccount) -> None:
    account.faults.set(Faults(api=ApiFaults(error_500_before=1.0)))

    assert str(await find_problem(client, URL)).startswith("cannot be asked: Stripe: ")
