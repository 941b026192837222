"""Setting up the account's webhook endpoint: safe to repeat, and no other endpoint is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.faults import ApiFaults, Faults, Operation
from sandbox.stripe.in_process import InProcessClient
from services.payment.stripe.client import StripeClient
from services.payment.stripe.endpoint import EndpointSetUp, find_problem, set_up
from services.payment.stripe.errors import StripePermissionMissing, StripeRefused, StripeUnavailable
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.stripe.model import WebhookEndpoint
from tests.support.account_endpoints import FORMER_VERSION, HANDLED, URL, client_of, disable, make
from tests.support.stripe_calls import StripeCalls
from tests.support.stripe_double import open_account


@pytest.fixture
def account() -> Iterator[StripeAccount]:
    with open_account() as opened:
        yield opened


@pytest.fixture
def calls() -> StripeCalls:
    return StripeCalls()


@pytest.fixture
def client(account: StripeAccount, calls: StripeCalls) -> StripeClient:
    return client_of(InProcessClient(account, before=calls.begin, after=calls.end))


class ReadOnly(InProcessClient):
    """The account as a restricted key finds it that may read webhook endpoints, and write none."""

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        if method.upper() == "GET":
            return await super().request_async(method, url, headers, post_data)
        message = (
            "The provided key 'rk_test_*key' does not have the required permissions for this endpoint on account "
            "'acct_1'. Having the 'rak_webhook_write' permission would allow this request to continue."
        )
        return msgspec.json.encode({"error": {"type": "invalid_request_error", "message": message}}), 403, {}


async def test_a_set_up_makes_what_the_service_needs_once(client: StripeClient, account: StripeAccount) -> None:
    first = await set_up(client, URL)
    second = await set_up(client, URL)

    [made] = await client.list_endpoints()
    assert made == WebhookEndpoint(
        id=made.id,
        url=URL,
        is_enabled=True,
        enabled_events=frozenset(HANDLED_EVENT_TYPES),
        api_version=stripe.api_version,
        secret=None,
    )
    assert first == EndpointSetUp(
        lines=[f"made the webhook endpoint {made.id} at {URL}, for API version {stripe.api_version}"],
        secret=first.secret,
    )
    assert str(first.secret).startswith("whsec_")
    assert str(first.secret) not in repr(first)
    assert second == EndpointSetUp(
        lines=[f"the webhook endpoint {made.id} is as it should be; its secret is in Stripe's dashboard alone"],
        secret=None,
    )


async def test_an_endpoint_that_differs_is_changed(client: StripeClient, account: StripeAccount) -> None:
    made = await make(account, enabled_events=[*HANDLED[1:], "charge.succeeded"])
    await disable(account, made.id)

    done = await set_up(client, URL)

    assert done.secret is None
    changes = f"enabled; events added: {HANDLED[0]}; events left out: charge.succeeded"
    assert done.lines == [f"changed the webhook endpoint {made.id}: {changes}"]
    assert await find_problem(client, URL) is None


async def test_a_new_version_gets_an_endpoint_beside_the_former(client: StripeClient, account: StripeAccount) -> None:
    former = await make(account, api_version=FORMER_VERSION, enabled_events=["*"])

    done = await set_up(client, URL)
    again = await set_up(client, URL)

    made, kept = await client.list_endpoints()
    assert (made.api_version, kept.id, kept.is_enabled, kept.enabled_events) == (
        stripe.api_version,
        former.id,
        True,
        frozenset("*"),
    )
    what_is_left = (
        f"{former.id} (API version {FORMER_VERSION}) is enabled at this URL, too: disable it in Stripe's dashboard "
        f"once the payment service runs with the signing secret of {made.id}; until then that of {former.id} belongs "
        "into ORDERSAGA_STRIPE_WEBHOOK_SECRET_PREVIOUS"
    )
    assert done.secret is not None
    assert (done.lines[1:], again.lines[1:]) == ([what_is_left], [what_is_left])


async def test_of_two_of_our_version_the_one_that_is_enabled_is_kept(
    client: StripeClient, account: StripeAccount
) -> None:
    disabled, oldest, newest = [await make(account, enabled_events=["*"]) for _ in range(3)]
    await disable(account, disabled.id)

    await set_up(client, URL)

    events = {endpoint.id: endpoint.enabled_events for endpoint in await client.list_endpoints()}
    assert events[oldest.id] == frozenset(HANDLED_EVENT_TYPES)
    assert (events[newest.id], events[disabled.id]) == (frozenset("*"), frozenset("*"))


async def test_a_lost_answer_costs_neither_the_secret_nor_a_second_endpoint(
    client: StripeClient, account: StripeAccount, calls: StripeCalls
) -> None:
    calls.after("webhook_endpoints.create", _lose)

    done = await set_up(client, URL)

    [made] = await client.list_endpoints()
    assert done.secret is not None
    assert done.lines == [f"made the webhook endpoint {made.id} at {URL}, for API version {stripe.api_version}"]
    assert calls.made.count("webhook_endpoints.create") == 2


async def test_a_set_up_that_heard_no_answer_at_all_may_be_repeated(
    client: StripeClient, account: StripeAccount
) -> None:
    account.faults.set(Faults(api=ApiFaults(lose_response=1.0, operations=frozenset({Operation.ENDPOINT_CREATE}))))
    with pytest.raises(StripeUnavailable):
        await set_up(client, URL)
    account.faults.clear()

    done = await set_up(client, URL)

    [made] = await client.list_endpoints()
    assert done.secret is None
    assert done.lines[0].startswith(f"the webhook endpoint {made.id} is as it should be")


async def test_two_set_ups_at_once_make_one_endpoint(client: StripeClient, calls: StripeCalls) -> None:
    others: list[EndpointSetUp] = []

    async def set_up_meanwhile() -> None:
        others.append(await set_up(client, URL))

    calls.before("webhook_endpoints.create", set_up_meanwhile)
    done = await set_up(client, URL)

    assert [other.secret for other in others] == [done.secret]
    assert len(await client.list_endpoints()) == 1


async def test_an_endpoint_that_was_deleted_is_made_anew_within_the_day(
    client: StripeClient, account: StripeAccount
) -> None:
    first = await set_up(client, URL)
    [deleted] = await client.list_endpoints()
    account.remove(deleted.id)

    second = await set_up(client, URL)

    [made] = await client.list_endpoints()
    assert made.id != deleted.id
    assert second.secret not in (None, first.secret)


async def test_a_failure_that_stripe_stored_is_no_second_endpoint(client: StripeClient, account: StripeAccount) -> None:
    account.faults.set(Faults(api=ApiFaults(error_500_after=1.0, operations=frozenset({Operation.ENDPOINT_CREATE}))))
    failed = await set_up(client, URL)
    [made] = await client.list_endpoints()
    account.faults.clear()
    account.remove(made.id)
    done = await set_up(client, URL)

    assert failed.secret is None
    assert failed.lines[0].startswith(f"the webhook endpoint {made.id} is as it should be")
    assert done.secret is not None
    assert len(await client.list_endpoints()) == 1


async def test_an_account_that_has_all_the_endpoints_it_may_have_refuses_until_one_is_deleted(
    client: StripeClient, account: StripeAccount
) -> None:
    others = [await make(account, url=f"https://other.example.test/{number}") for number in range(16)]

    for _ in range(2):
        with pytest.raises(StripeRefused, match="maximum of 16"):
            await set_up(client, URL)
    account.remove(others[0].id)

    assert (await set_up(client, URL)).secret is not None


async def test_a_url_that_stripe_does_not_take_is_refused(client: StripeClient) -> None:
    with pytest.raises(StripeRefused, match="Invalid URL"):
        await set_up(client, "ftp://shop.example.test/")


async def test_a_key_that_may_not_write_endpoints_is_told_what_it_needs(account: StripeAccount) -> None:
    reader = client_of(ReadOnly(account))

    with pytest.raises(StripePermissionMissing, match=r"needs the permission Webhook Endpoints: write\. Stripe: The"):
        await set_up(reader, URL)

    assert await reader.list_endpoints() == []


async def _lose() -> None:
    raise stripe.APIConnectionError("the answer was lost")  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
