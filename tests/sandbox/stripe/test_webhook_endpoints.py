"""The Stripe double's webhook endpoints as objects of the API: how they are made, shown, changed and deleted."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.in_process import InProcessClient
from tests.support.stripe_double import in_process_sdk
from tests.support.webhook_endpoint import URL, make_endpoint

FORMER_VERSION: Any = "2025-03-31.basil"


async def test_the_secret_is_shown_at_the_creation_alone(direct: stripe.StripeClient) -> None:
    made = await make_endpoint(direct, "payment_intent.succeeded", description="Shop", metadata={"app": "shop"})
    shown = [
        await direct.v1.webhook_endpoints.retrieve_async(made.id),
        *(await direct.v1.webhook_endpoints.list_async()).data,
        await direct.v1.webhook_endpoints.update_async(made.id, {}),
    ]

    assert str(made.secret).startswith("whsec_")
    expected = {name: value for name, value in made.to_dict().items() if name != "secret"}
    assert [endpoint.to_dict() for endpoint in shown] == [expected] * 3
    assert (expected["url"], expected["status"], expected["api_version"]) == (URL, "enabled", None)
    assert (expected["description"], expected["metadata"]) == ("Shop", {"app": "shop"})


async def test_a_repeated_creation_gives_the_first_answer_with_its_secret(direct: stripe.StripeClient) -> None:
    wanted: Any = {"url": URL, "enabled_events": ["*"]}
    made = await direct.v1.webhook_endpoints.create_async(wanted, {"idempotency_key": "k"})
    again = await direct.v1.webhook_endpoints.create_async(wanted, {"idempotency_key": "k"})

    assert (again.id, again.secret) == (made.id, made.secret)
    assert len((await direct.v1.webhook_endpoints.list_async()).data) == 1


async def test_an_update_changes_what_it_names(direct: stripe.StripeClient) -> None:
    made = await make_endpoint(direct, description="Shop", metadata={"a": "1", "b": "2"}, api_version=FORMER_VERSION)

    changed = await direct.v1.webhook_endpoints.update_async(
        made.id, {"enabled_events": ["refund.failed"], "description": "", "metadata": {"a": ""}, "disabled": True}
    )
    enabled = await direct.v1.webhook_endpoints.update_async(made.id, {"disabled": False, "url": "http://10.0.0.1/"})

    assert (changed.enabled_events, changed.description, changed.status) == (["refund.failed"], None, "disabled")
    assert (changed.metadata.to_dict(), changed.url, changed.api_version) == ({"b": "2"}, URL, FORMER_VERSION)
    assert (enabled.enabled_events, enabled.status, enabled.url) == (["refund.failed"], "enabled", "http://10.0.0.1/")


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"url": "shop.example.test/hook"}, "url", None),
        ({"url": "ftp://shop.example.test/"}, "url", None),
        ({"url": "https:///hook"}, "url", "url_invalid"),
        ({"url": "https://[/"}, "url", "url_invalid"),
        ({"enabled_events": ["charge.succeeded", "charge.eaten"]}, "enabled_events[1]", None),
        ({"api_version": "2025-03-32"}, "api_version", None),
        ({"description": "x" * 5_001}, "description", None),
        ({"enabled_events": []}, "enabled_events", "parameter_missing"),
        ({"colour": "red"}, "colour", "parameter_unknown"),
    ],
)
async def test_a_creation_that_does_not_fit_is_refused(
    direct: stripe.StripeClient, params: dict[str, Any], param: str, code: str | None
) -> None:
    wanted: Any = {"url": URL, "enabled_events": ["*"], **params}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await direct.v1.webhook_endpoints.create_async(wanted)

    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)
    assert (await direct.v1.webhook_endpoints.list_async()).data == []


async def test_a_url_is_required(direct: stripe.StripeClient) -> None:
    wanted: Any = {"enabled_events": ["*"]}

    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: url"):
        await direct.v1.webhook_endpoints.create_async(wanted)


async def test_the_api_version_of_an_endpoint_does_not_change(direct: stripe.StripeClient) -> None:
    made = await make_endpoint(direct)
    change: Any = {"api_version": FORMER_VERSION}

    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter: api_version"):
        await direct.v1.webhook_endpoints.update_async(made.id, change)


async def test_an_account_has_16_endpoints_at_most(direct: stripe.StripeClient) -> None:
    made = [await make_endpoint(direct) for _ in range(16)]
    await direct.v1.webhook_endpoints.update_async(made[0].id, {"disabled": True})

    with pytest.raises(stripe.InvalidRequestError, match=r"the maximum of 16 test webhook endpoints\."):
        await make_endpoint(direct)
    await direct.v1.webhook_endpoints.delete_async(made[0].id)
    await make_endpoint(direct)

    first = await direct.v1.webhook_endpoints.list_async()
    assert (len(first.data), first.has_more) == (10, True)
    assert len([endpoint async for endpoint in first.auto_paging_iter()]) == 16


@pytest.mark.parametrize("call", ["retrieve_async", "update_async", "delete_async"])
async def test_an_endpoint_that_is_not_there_is_404(direct: stripe.StripeClient, call: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such webhook endpoint: 'we_1'") as refused:
        await getattr(direct.v1.webhook_endpoints, call)("we_1")

    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


async def test_a_publishable_key_may_do_nothing_with_them(account: StripeAccount) -> None:
    shop = in_process_sdk(InProcessClient(account), api_key="pk_test_shop")

    with pytest.raises(stripe.PermissionError):
        await make_endpoint(shop)
