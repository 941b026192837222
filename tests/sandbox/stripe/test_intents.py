"""The Stripe double, driven by the official SDK and by a browser's calls, keeps Stripe's rules."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from pydantic import SecretStr

from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.clock import Clock
from sandbox.stripe.objects import Charge
from sandbox.stripe.rules.intents import Authentication
from sandbox.stripe.server import StripeDouble, run
from tests.support.stripe_double import API_KEY, WEBHOOK_SECRET, create, sdk


@pytest.fixture
async def browser(double: StripeDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=double.url, headers={"Authorization": "Bearer pk_test_shop"}) as made:
        yield made


async def event_types(client: stripe.StripeClient) -> list[str]:
    events = await client.v1.events.list_async({"limit": 100})
    return [event.type for event in reversed(events.data)]


async def test_an_intent_is_created_unconfirmed_and_then_paid(client: stripe.StripeClient) -> None:
    created = await create(client, metadata={"order_id": "o-1"})
    paid = await client.v1.payment_intents.confirm_async(
        created.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )

    assert (created.status, created.amount_received, created.latest_charge) == ("requires_payment_method", 0, None)
    assert (paid.status, paid.amount_received, paid.metadata["order_id"]) == ("succeeded", 2_599, "o-1")
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert (paid.latest_charge.status, paid.latest_charge.amount_captured) == ("succeeded", 2_599)
    assert await event_types(client) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


async def test_create_with_confirm_takes_the_money_at_once(client: stripe.StripeClient) -> None:
    paid = await create(client, payment_method="pm_card_mastercard", confirm=True)

    assert paid.status == "succeeded"
    assert (await client.v1.payment_intents.retrieve_async(paid.id)).status == "succeeded"


@pytest.mark.parametrize(
    ("card", "code", "decline_code", "param"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", None),
        ("pm_card_chargeDeclined", "card_declined", "generic_decline", None),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", None),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", None),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card", None),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card", None),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "exp_month"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", "cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", None),
        ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded", None),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline", None),
        ("pm_card_radarBlock", "card_declined", "fraudulent", None),
    ],
)
async def test_a_declined_card_is_a_402_and_one_failed_charge(
    direct: stripe.StripeClient, card: str, code: str, decline_code: str, param: str | None
) -> None:
    intent = await create(direct)

    with pytest.raises(stripe.CardError) as declined:
        await direct.v1.payment_intents.confirm_async(intent.id, {"payment_method": card})

    error = declined.value.json_body["error"]  # type: ignore[index]  # the SDK leaves the body untyped
    assert (declined.value.http_status, error["code"], error["decline_code"]) == (402, code, decline_code)
    assert (error.get("param"), error["payment_intent"]["status"]) == (param, "requires_payment_method")
    after = await direct.v1.payment_intents.retrieve_async(intent.id)
    charges = await direct.v1.charges.list_async({"payment_intent": intent.id})
    assert (after.status, after.payment_method, after.latest_charge) == (
        "requires_payment_method",
        None,
        error["charge"],
    )
    assert after.last_payment_error is not None
    assert (after.last_payment_error.code, after.last_payment_error.decline_code) == (code, decline_code)
    assert [(charge.id, charge.status, charge.failure_code) for charge in charges.data] == [
        (error["charge"], "failed", code)
    ]
    assert await event_types(direct) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


async def test_a_payment_that_radar_blocks_never_reaches_the_network(direct: stripe.StripeClient) -> None:
    intent = await create(direct)
    with pytest.raises(stripe.CardError):
        await direct.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_radarBlock"})

    [charge] = (await direct.v1.charges.list_async({"payment_intent": intent.id})).data

    assert charge.outcome is not None
    assert (charge.outcome.type, charge.outcome.reason) == ("blocked", "highest_risk_level")
    assert (charge.outcome.network_status, charge.outcome.risk_level) == ("not_sent_to_network", "highest")


async def test_a_risky_card_may_pay(direct: stripe.StripeClient) -> None:
    paid = await create(direct, payment_method="pm_card_riskLevelElevated", confirm=True, expand=["latest_charge"])

    assert isinstance(paid.latest_charge, stripe.Charge)
    assert paid.latest_charge.outcome is not None
    assert (paid.status, paid.latest_charge.outcome.risk_level) == ("succeeded", "elevated")


async def test_the_customer_may_try_again_after_a_decline(client: stripe.StripeClient) -> None:
    intent = await create(client)
    with pytest.raises(stripe.CardError):
        await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_chargeDeclined"})

    paid = await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})

    charges = await client.v1.charges.list_async({"payment_intent": intent.id})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert [charge.status for charge in charges.data] == ["succeeded", "failed"]


@pytest.mark.parametrize(("outcome", "status"), [("succeed", "succeeded"), ("fail", "requires_payment_method")])
async def test_a_card_that_wants_authentication_waits_for_the_customer(
    client: stripe.StripeClient, double: StripeDouble, outcome: str, status: str
) -> None:
    intent = await create(client)

    waiting = await client.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_authenticationRequired", "return_url": "https://shop.example.test/done"}
    )

    assert waiting.status == "requires_action"
    assert waiting.next_action is not None
    assert waiting.next_action.redirect_to_url is not None
    url = waiting.next_action.redirect_to_url.url
    assert url is not None
    async with httpx.AsyncClient() as bank:
        page = await bank.get(url)
        answer = await bank.post(url, json={"outcome": outcome})
        again = await bank.post(url, json={"outcome": outcome})
    assert "25.99 usd" in page.text
    assert (answer.json()["status"], again.status_code) == (status, 400)


@pytest.mark.parametrize(
    "card",
    [
        "pm_card_authenticationRequired",
        "pm_card_authenticationRequiredOnSetup",
        "pm_card_threeDSecureRequired",
        "pm_card_threeDSecure2Required",
    ],
)
async def test_a_failed_authentication_is_an_attempt_without_a_charge(
    account: StripeAccount, direct: stripe.StripeClient, card: str
) -> None:
    waiting = await create(direct, payment_method=card, confirm=True)

    account.authenticate(waiting.id, Authentication.FAIL)

    failed = await direct.v1.payment_intents.retrieve_async(waiting.id)
    error = failed.last_payment_error
    assert error is not None
    assert (failed.status, failed.latest_charge, failed.payment_method) == ("requires_payment_method", None, None)
    assert (error.type, error.code) == ("invalid_request_error", "payment_intent_authentication_failure")
    assert "charge" not in error.to_dict()
    assert error.payment_method is not None
    assert (await direct.v1.charges.list_async({"payment_intent": waiting.id})).data == []
    assert (await event_types(direct))[-1] == "payment_intent.payment_failed"


@pytest.mark.parametrize(
    ("card", "decline_code"),
    [
        ("pm_card_threeDSecureRequiredChargeDeclined", "generic_decline"),
        ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_a_card_may_be_declined_after_its_authentication(
    account: StripeAccount, direct: stripe.StripeClient, card: str, decline_code: str
) -> None:
    waiting = await create(direct, payment_method=card, confirm=True)

    failed = account.authenticate(waiting.id)

    [charge] = account.all(Charge, list_key=waiting.id)
    assert (waiting.status, failed.status) == ("requires_action", "requires_payment_method")
    assert (charge.status, charge.outcome.reason) == ("failed", decline_code)


async def test_the_bank_sends_the_customer_back_to_the_shop(client: stripe.StripeClient) -> None:
    intent = await create(client)
    waiting = await client.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_authenticationRequired", "return_url": "https://shop.example.test/?a=1"}
    )
    assert waiting.next_action is not None
    assert waiting.next_action.redirect_to_url is not None

    async with httpx.AsyncClient() as bank:
        answer = await bank.post(str(waiting.next_action.redirect_to_url.url), data={"outcome": "succeed"})

    assert answer.status_code == 303
    assert answer.headers["location"] == (
        f"https://shop.example.test/?a=1&payment_intent={intent.id}"
        f"&payment_intent_client_secret={intent.client_secret}&redirect_status=succeeded"
    )


async def test_canceling_ends_an_open_intent_and_nothing_else(client: stripe.StripeClient) -> None:
    intent, paid = await create(client), await create(client, payment_method="pm_card_visa", confirm=True)

    canceled = await client.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})

    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at is not None
    for done, status in ((intent, "canceled"), (paid, "succeeded")):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await client.v1.payment_intents.cancel_async(done.id)
        error = refused.value.json_body["error"]  # type: ignore[index]  # as above
        assert (error["code"], error["payment_intent"]["status"]) == ("payment_intent_unexpected_state", status)


@pytest.mark.parametrize("ending", ["succeeded", "canceled"])
async def test_a_closed_intent_cannot_be_confirmed(client: stripe.StripeClient, ending: str) -> None:
    intent = await create(client)
    if ending == "canceled":
        await client.v1.payment_intents.cancel_async(intent.id)
    else:
        await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})

    assert refused.value.code == "payment_intent_unexpected_state"


async def test_refunds_are_bounded_by_what_is_left_of_the_charge(client: stripe.StripeClient) -> None:
    paid = await create(client, amount=1_000, payment_method="pm_card_visa", confirm=True)

    part = await client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 400, "metadata": {"n": "1"}})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 601})
    rest = await client.v1.refunds.create_async({"charge": str(paid.latest_charge)})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.refunds.create_async({"payment_intent": paid.id})

    listed = await client.v1.refunds.list_async({"payment_intent": paid.id})
    charge = await client.v1.charges.retrieve_async(str(paid.latest_charge))
    assert (part.status, part.amount, rest.amount) == ("succeeded", 400, 600)
    assert refused.value.code == "charge_already_refunded"
    assert [refund.id for refund in listed.data] == [rest.id, part.id]
    assert (charge.amount_refunded, charge.refunded) == (1_000, True)
    assert (await event_types(client))[-3:] == ["refund.created", "refund.updated", "charge.refunded"]


async def test_an_unpaid_intent_has_nothing_to_refund(client: stripe.StripeClient) -> None:
    intent = await create(client)

    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        await client.v1.refunds.create_async({"payment_intent": intent.id})


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": 1_001, "currency": "kwd"}, None, "amount"),
        ({"amount": 150, "currency": "isk"}, None, "amount"),
        ({"currency": "xyz"}, None, "currency"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"payment_method": "pm_card_nobody"}, "resource_missing", "payment_method"),
        ({"allowed_payment_method_types": ["cowrie"]}, None, "allowed_payment_method_types"),
        (
            {"payment_method_types": ["card"]},
            "payment_method_types_no_longer_supported",
            "payment_method_types",
        ),
    ],
)
async def test_what_stripe_does_not_take_is_refused_by_name(
    client: stripe.StripeClient, params: dict[str, Any], code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await create(client, **params)

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)


async def test_a_missing_parameter_is_named(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.create_async({"currency": "usd"})  # type: ignore[typeddict-item]  # the point

    assert (refused.value.code, refused.value.param) == ("parameter_missing", "amount")


async def test_an_unknown_intent_is_a_404(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.retrieve_async("pi_nobody")

    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


async def test_automatic_payment_methods_want_a_return_url(client: stripe.StripeClient) -> None:
    automatic = await client.v1.payment_intents.create_async({"amount": 500, "currency": "usd"})

    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        await client.v1.payment_intents.confirm_async(automatic.id, {"payment_method": "pm_card_visa"})

    paid = await client.v1.payment_intents.confirm_async(
        automatic.id, {"payment_method": "pm_card_visa", "return_url": "https://shop.example.test/"}
    )
    assert paid.status == "succeeded"


@pytest.mark.parametrize("key", ["sk_test_other", "pk_test_shop"])
async def test_only_the_secret_key_may_do_everything(double: StripeDouble, key: str) -> None:
    async with sdk(double, api_key=key) as client:
        with pytest.raises((stripe.AuthenticationError, stripe.PermissionError)):
            await create(client)


async def test_a_browser_confirms_with_the_client_secret_only(
    client: stripe.StripeClient, browser: httpx.AsyncClient
) -> None:
    intent = await create(client, metadata={"order_id": "o-1"})
    path = f"/v1/payment_intents/{intent.id}"

    without = await browser.get(path)
    wrong = await browser.get(path, params={"client_secret": "guess"})
    declined = await browser.post(
        f"{path}/confirm",
        data={"payment_method": "pm_card_chargeDeclined", "client_secret": str(intent.client_secret)},
    )
    confirmed = await browser.post(
        f"{path}/confirm", data={"payment_method": "pm_card_visa", "client_secret": str(intent.client_secret)}
    )

    assert (without.status_code, wrong.status_code, declined.status_code) == (400, 400, 402)
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "succeeded")
    assert "metadata" not in confirmed.json()
    assert "metadata" not in declined.json()["error"]["payment_intent"]


async def test_pages_of_another_origin_may_call(browser: httpx.AsyncClient) -> None:
    answer = await browser.options(
        "/v1/payment_intents/pi_1/confirm",
        headers={"Origin": "https://shop.example.test", "Access-Control-Request-Method": "POST"},
    )

    assert answer.headers["access-control-allow-origin"] == "*"


async def test_lists_are_paged_newest_first_both_ways(client: stripe.StripeClient, clock: Clock) -> None:
    ids, began = [], int(clock.now())
    for _ in range(5):
        ids.append((await create(client)).id)
        clock.advance(1)
    newest_first = ids[::-1]

    first = await client.v1.payment_intents.list_async({"limit": 2})
    second_page = await client.v1.payment_intents.list_async({"limit": 3, "starting_after": first.data[-1].id})
    back = await client.v1.payment_intents.list_async({"limit": 2, "ending_before": newest_first[3]})
    recent = await client.v1.payment_intents.list_async({"created": {"gte": began + 3}})

    assert ([intent.id for intent in first.data], first.has_more) == (newest_first[:2], True)
    assert ([intent.id for intent in second_page.data], second_page.has_more) == (newest_first[2:], False)
    assert ([intent.id for intent in back.data], back.has_more) == (newest_first[1:3], True)
    assert [intent.id for intent in recent.data] == newest_first[:2]


async def test_events_hold_the_object_as_it_was_and_are_listed_by_type(client: stripe.StripeClient) -> None:
    intent = await create(client)
    await client.v1.payment_intents.cancel_async(intent.id)

    created = await client.v1.events.list_async({"type": "payment_intent.created"})
    both = await client.v1.events.list_async({"types": ["payment_intent.created", "payment_intent.canceled"]})
    all_kinds = [event async for event in both.auto_paging_iter()]

    [event] = created.data
    assert event.data.object["status"] == "requires_payment_method"
    assert (event.api_version, event.livemode, event.pending_webhooks) == (stripe.api_version, False, 0)
    assert event.request is not None
    assert event.request.idempotency_key is not None
    assert [event.type for event in all_kinds] == ["payment_intent.canceled", "payment_intent.created"]
    assert (await client.v1.events.retrieve_async(event.id)).id == event.id


async def test_the_part_is_ready_once_it_serves_and_stops_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ORDERSAGA_SANDBOX_STRIPE_PORT", str(port))
    monkeypatch.setenv("ORDERSAGA_SANDBOX_STRIPE_FOLDER", str(tmp_path))
    settings = Settings(stripe_api_key=SecretStr(API_KEY), stripe_webhook_secret=SecretStr(WEBHOOK_SECRET))
    lifecycle = Lifecycle(asyncio.Event())

    part = asyncio.create_task(run(settings, lifecycle))
    await lifecycle.started.wait()
    async with httpx.AsyncClient() as http:
        healthy = await http.get(f"http://127.0.0.1:{port}/healthz")
    lifecycle.stopping.set()
    await part

    assert healthy.status_code == 200
