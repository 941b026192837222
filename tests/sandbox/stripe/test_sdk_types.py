"""What the Stripe double shows agrees with the official SDK's types: every field, its type, null, and every word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.disputes import Dispute, DisputeReason, DisputeStatus
from sandbox.stripe.endpoints import WebhookEndpoint
from sandbox.stripe.errors import ApiError
from sandbox.stripe.events import Event
from sandbox.stripe.objects import Charge, Intent, Refund, RefundFailure, RefundStatus
from sandbox.stripe.payment_methods import PaymentMethod
from sandbox.stripe.resources import Resource
from sandbox.stripe.rules.intents import Authentication
from sandbox.stripe.rules.tokens import TEST_METHODS, DebitFailureCode
from tests.support.sdk_types import find_enum_mismatches, find_mismatches
from tests.support.stripe_double import create

KINDS: dict[type[Resource], type[stripe.StripeObject]] = {
    Intent: stripe.PaymentIntent,
    Charge: stripe.Charge,
    Refund: stripe.Refund,
    Dispute: stripe.Dispute,
    PaymentMethod: stripe.PaymentMethod,
    Event: stripe.Event,
    WebhookEndpoint: stripe.WebhookEndpoint,
}
MANDATE = {"customer_acceptance": {"type": "offline"}}


@pytest.mark.parametrize("ours", KINDS, ids=lambda kind: kind.__name__)
def test_every_word_that_an_object_may_hold_is_one_of_stripes(ours: type[Resource]) -> None:
    assert list(find_enum_mismatches(ours, KINDS[ours])) == []


@pytest.mark.parametrize("token", TEST_METHODS)
async def test_whatever_becomes_of_a_payment_its_objects_fit_the_sdk(
    account: StripeAccount, direct: stripe.StripeClient, token: str
) -> None:
    for currency in ("eur", "usd"):
        for params in ({}, {"capture_method": "manual"}):
            await _pay(account, direct, token, currency=currency, **params)

    assert account.all(Charge)
    assert list(_mismatches(account)) == []


@pytest.mark.parametrize("status", RefundStatus)
async def test_refunds_fit_the_sdk(account: StripeAccount, direct: stripe.StripeClient, status: RefundStatus) -> None:
    for card in ("pm_card_visa", "pm_card_pendingRefund"):
        paid = await create(direct, payment_method=card, confirm=True, metadata={"order": "1"})
        refund = await direct.v1.refunds.create_async({"payment_intent": paid.id, "reason": "duplicate", "amount": 5})
        with suppress(ApiError):
            account.change_refund(refund.id, status)

    assert status in {refund.status for refund in account.all(Refund)}
    assert list(_mismatches(account)) == []


@pytest.mark.parametrize("failure", RefundFailure)
async def test_failed_refunds_fit_the_sdk(
    account: StripeAccount, direct: stripe.StripeClient, failure: RefundFailure
) -> None:
    paid = await create(direct, payment_method="pm_card_visa", confirm=True)
    refund = await direct.v1.refunds.create_async({"payment_intent": paid.id})

    account.change_refund(refund.id, RefundStatus.FAILED, failure=failure)

    assert list(_mismatches(account)) == []


@pytest.mark.parametrize("reason", DisputeReason)
async def test_disputes_fit_the_sdk(account: StripeAccount, direct: stripe.StripeClient, reason: DisputeReason) -> None:
    seen = set()
    for opening in (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE):
        for end in (DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.WARNING_CLOSED):
            paid = await create(direct, payment_method="pm_card_visa", confirm=True)
            dispute = account.open_dispute(str(paid.latest_charge), status=opening, reason=reason)
            for status in (DisputeStatus.UNDER_REVIEW, DisputeStatus.WARNING_UNDER_REVIEW, end):
                with suppress(ApiError):
                    account.change_dispute(dispute.id, status)
                seen.add(account.get(Dispute, dispute.id).status)

    assert seen >= set(DisputeStatus) - {DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE}
    assert list(_mismatches(account)) == []


@pytest.mark.parametrize("code", DebitFailureCode)
async def test_debits_that_failed_fit_the_sdk(
    account: StripeAccount, direct: stripe.StripeClient, code: DebitFailureCode
) -> None:
    intent = await _pay(account, direct, "pm_successDelayed_de", currency="eur")

    account.fail(intent.id, code)

    assert list(_mismatches(account)) == []


async def test_webhook_endpoints_fit_the_sdk(account: StripeAccount, direct: stripe.StripeClient) -> None:
    endpoints = direct.v1.webhook_endpoints
    made = await endpoints.create_async(
        {"url": "https://shop.example.test/", "enabled_events": ["*"], "metadata": {"a": "1"}, "description": "Shop"}
    )
    shown = [made, await endpoints.retrieve_async(made.id), await endpoints.update_async(made.id, {"disabled": True})]
    shown += [*(await endpoints.list_async()).data, await endpoints.delete_async(made.id)]

    bodies = [endpoint.to_dict() for endpoint in shown]
    assert [body for body in bodies[:-1] for _ in find_mismatches(body, stripe.WebhookEndpoint)] == []
    assert bodies[-1] == {"id": made.id, "object": "webhook_endpoint", "deleted": True}


async def test_errors_fit_the_sdk(direct: stripe.StripeClient) -> None:
    """Those of declines and refusals, with the objects that they show."""
    bodies: list[Any] = []
    for token in TEST_METHODS:
        try:
            await create(direct, payment_method=token, confirm=True, currency="eur")
        except stripe.StripeError as error:
            bodies.append(error.json_body)

    assert len(bodies) > 10
    assert [problem for body in bodies for problem in find_mismatches(body["error"], stripe.ErrorObject)] == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "red"}, "PaymentIntent.colour: unknown"),
        ({"amount": "10"}, "PaymentIntent.amount: '10' does not fit"),
        ({"amount": None}, "PaymentIntent.amount: None does not fit"),
        ({"amount": True}, "PaymentIntent.amount: True does not fit"),
        ({"status": "eaten"}, "PaymentIntent.status: 'eaten' does not fit"),
        ({"payment_method_types": "card"}, "PaymentIntent.payment_method_types: 'card' does not fit"),
        ({"payment_method_types": [1]}, "PaymentIntent.payment_method_types[0]: 1 does not fit"),
        ({"metadata": {"a": 1}}, "PaymentIntent.metadata.a: 1 does not fit"),
        ({"next_action": {"type": "wait", "since": 1}}, "PaymentIntent.next_action.since: unknown"),
        ({"next_action": {}}, "PaymentIntent.next_action.type: missing"),
        ({"last_payment_error": "no"}, "PaymentIntent.last_payment_error: 'no' does not fit"),
    ],
)
async def test_the_comparison_finds_what_does_not_fit(
    account: StripeAccount, direct: stripe.StripeClient, change: dict[str, object], problem: str
) -> None:
    await create(direct)
    shown = {**msgspec.to_builtins(account.all(Intent)[0]), **change}

    [found] = find_mismatches(shown, stripe.PaymentIntent)

    assert found.startswith(problem)


async def _pay(
    account: StripeAccount, client: stripe.StripeClient, token: str, *, currency: str, **params: Any
) -> stripe.PaymentIntent:
    """Confirm an intent with this payment method, in as many ways as there are, and see it to its end."""
    types = ["card", "us_bank_account", "sepa_debit"]
    intent = await create(
        client, currency=currency, allowed_payment_method_types=types, metadata={"order": "1"}, **params
    )
    given = {"payment_method": token, "mandate_data": MANDATE, "return_url": "https://shop.example.test/"}
    with suppress(stripe.CardError, stripe.InvalidRequestError):
        await client.v1.payment_intents.confirm_async(intent.id, given)  # type: ignore[arg-type]  # any parameters
    account_intent = account.get(Intent, intent.id)
    if account_intent.status == "requires_action":
        account.authenticate(intent.id, Authentication.FAIL if currency == "usd" else Authentication.SUCCEED)
    if account_intent.status == "requires_capture" and currency == "usd":
        await client.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 100})
    if token != "pm_successDelayed_de":
        account.clock.advance(180)
        with suppress(stripe.InvalidRequestError):
            await client.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
    return intent


def _mismatches(account: StripeAccount) -> Iterator[str]:
    """What does not fit of all that an account has, and of what its events show."""
    by_name = {kind.noun: theirs for kind, theirs in KINDS.items()}
    for ours, theirs in KINDS.items():
        for found in account.all(ours):
            yield from find_mismatches(msgspec.json.decode(msgspec.json.encode(found)), theirs)
    for event in account.all(Event):
        shown = msgspec.json.decode(event.data.object)
        yield from find_mismatches(shown, by_name[shown["object"]])
