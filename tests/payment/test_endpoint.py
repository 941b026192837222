"""The account's webhook endpoint: what is wrong with it is said in words, and setting it up is safe to repeat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
import stripe

from runtime.health import NotSetUp
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.faults import ApiFaults, Faults, Operation
from sandbox.stripe.in_process import InProcessClient
from services.payment.stripe.client import StripeClient
from services.payment.stripe.endpoint import EndpointSetUp, find_problem, set_up
from services.payment.stripe.errors import StripePermissionMissing, StripeRefused, StripeUnavailable
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.stripe.model import WebhookEndpoint
from tests.support.stripe_calls import StripeCalls
from tests.support.stripe_double import API_KEY, in_process_sdk, open_account

URL = "https://shop.example.test/webhooks/stripe"
FORMER_VERSION = "2025-03-31.basil"
HANDLED = list(HANDLED_EVENT_TYPES)


@pytest.fixture
def account() -> Iterator[StripeAccount]:
    with open_account() as opened:
        yield opened


@pytest.fixture
def calls() -> StripeCalls:
    return StripeCalls()


@pytest.fixture
def client(account: StripeAccount, calls: StripeCalls) -> StripeClient:
    return _client(InProcessClient(account, before=calls.begin, after=calls.end))


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


# What is wrong


async def test_an_endpoint_that_was_set_up_has_no_problem(client: StripeClient) -> None:
    await set_up(client, URL)

    assert await find_problem(client, URL) is None


async def test_the_endpoint_that_a_double_is_configured_with_has_no_problem() -> None:
    with open_account(webhook_events=HANDLED_EVENT_TYPES) as account:
        account.serve_endpoint(URL)

        assert await find_problem(_client(InProcessClient(account)), URL) is None


async def test_an_endpoint_elsewhere_is_none(client: StripeClient, account: StripeAccount) -> None:
    await _make(account, url="https://other.example.test/webhooks/stripe")

    problem = await find_problem(client, URL)

    assert isinstance(problem, NotSetUp)
    assert problem == f"Stripe has no webhook endpoint at {URL}; run `ordersaga setup stripe`"


async def test_a_disabled_endpoint_is_a_problem(client: StripeClient, account: StripeAccount) -> None:
    made = await _make(account)
    await _disable(account, made.id)

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
    made = await _make(account, enabled_events=events)

    assert await find_problem(client, URL) == f"the webhook endpoint {made.id} {wrong}; run `ordersaga setup stripe`"


async def test_events_may_lack_and_be_needless_at_once(client: StripeClient, account: StripeAccount) -> None:
    await _make(account, enabled_events=[*HANDLED[1:], "charge.succeeded"])

    problem = str(await find_problem(client, URL))

    assert f"does not get {HANDLED[0]};" in problem
    assert "nothing handles: charge.succeeded;" in problem


@pytest.mark.parametrize(("version", "named"), [(FORMER_VERSION, FORMER_VERSION), (None, "of the account")])
async def test_another_api_version_wants_a_new_endpoint(
    client: StripeClient, account: StripeAccount, version: str | None, named: str
) -> None:
    made = await _make(account, api_version=version)

    problem = str(await find_problem(client, URL))

    assert f"{made.id} (API version {named}) does not send API version {stripe.api_version}" in problem
    assert f"(4) Disable {made.id}" in problem


async def test_several_enabled_endpoints_are_named(client: StripeClient, account: StripeAccount) -> None:
    former, current = await _make(account, api_version=FORMER_VERSION), await _make(account)

    assert await find_problem(client, URL) == (
        f"2 webhook endpoints are enabled at this URL: {former.id} (API version {FORMER_VERSION}), {current.id} (API "
        f"version {stripe.api_version}); disable all in Stripe's dashboard but the one whose signing secret is "
        "ORDERSAGA_STRIPE_WEBHOOK_SECRET"
    )

    await _disable(account, former.id)
    assert await find_problem(client, URL) is None


async def test_a_key_that_may_not_read_endpoints_is_told_what_it_needs(account: StripeAccount) -> None:
    shop = _client(InProcessClient(account), api_key="pk_test_shop")

    problem = str(await find_problem(shop, URL))

    assert problem.startswith(
        "cannot be asked: the key in ORDERSAGA_STRIPE_API_KEY needs the permission Webhook Endpoints: read. Stripe: "
    )


async def test_a_stripe_that_is_away_cannot_be_asked(client: StripeClient, account: StripeAccount) -> None:
    account.faults.set(Faults(api=ApiFaults(error_500_before=1.0)))

    assert str(await find_problem(client, URL)).startswith("cannot be asked: Stripe: ")


# Setting it up


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
    made = await _make(account, enabled_events=[*HANDLED[1:], "charge.succeeded"])
    await _disable(account, made.id)

    done = await set_up(client, URL)

    assert done.secret is None
    changes = f"enabled; events added: {HANDLED[0]}; events left out: charge.succeeded"
    assert done.lines == [f"changed the webhook endpoint {made.id}: {changes}"]
    assert await find_problem(client, URL) is None


async def test_a_new_version_gets_an_endpoint_beside_the_former(client: StripeClient, account: StripeAccount) -> None:
    former = await _make(account, api_version=FORMER_VERSION, enabled_events=["*"])

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
    disabled, oldest, newest = [await _make(account, enabled_events=["*"]) for _ in range(3)]
    await _disable(account, disabled.id)

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
    others = [await _make(account, url=f"https://other.example.test/{number}") for number in range(16)]

    for _ in range(2):
        with pytest.raises(StripeRefused, match="maximum of 16"):
            await set_up(client, URL)
    account.remove(others[0].id)

    assert (await set_up(client, URL)).secret is not None


async def test_a_url_that_stripe_does_not_take_is_refused(client: StripeClient) -> None:
    with pytest.raises(StripeRefused, match="Invalid URL"):
        await set_up(client, "ftp://shop.example.test/")


async def test_a_key_that_may_not_write_endpoints_is_told_what_it_needs(account: StripeAccount) -> None:
    reader = _client(ReadOnly(account))

    with pytest.raises(StripePermissionMissing, match=r"needs the permission Webhook Endpoints: write\. Stripe: The"):
        await set_up(reader, URL)

    assert await reader.list_endpoints() == []


def _client(http: InProcessClient, *, api_key: str = API_KEY) -> StripeClient:
    return StripeClient(
        api_key=api_key, api_base=None, timeout=5, payment_method_types=["card"], app="ordersaga", http_client=http
    )


async def _make(account: StripeAccount, **params: Any) -> stripe.WebhookEndpoint:
    """An endpoint as a set-up makes it, but for these parameters."""
    wanted: Any = {"url": URL, "enabled_events": HANDLED, "api_version": stripe.api_version, **params}
    given = {name: value for name, value in wanted.items() if value is not None}
    return await _sdk(account).v1.webhook_endpoints.create_async(given)  # type: ignore[arg-type]  # any parameters


async def _disable(account: StripeAccount, endpoint_id: str) -> None:
    await _sdk(account).v1.webhook_endpoints.update_async(endpoint_id, {"disabled": True})


def _sdk(account: StripeAccount) -> stripe.StripeClient:
    return in_process_sdk(InProcessClient(account))


async def _lose() -> None:
    raise stripe.APIConnectionError("the answer was lost")  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
