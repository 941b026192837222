"""Payments that are processing for days before their money arrives, or does not: Stripe's test bank accounts."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.events import Event
from sandbox.stripe.objects import Charge, Intent
from sandbox.stripe.payment_methods import PaymentMethodType, UsBankAccountDetails
from sandbox.stripe.rules.tokens import TEST_METHODS, DebitFailureCode
from tests.support.stripe_double import Merchant, create

MANDATE = {"customer_acceptance": {"type": "online", "online": {"ip_address": "127.0.0.1", "user_agent": "test"}}}
SUCCEEDS = [("pm_usBankAccount_success", "usd"), ("pm_success_de", "eur")]
FAILS = [
    ("pm_usBankAccount_accountClosed", "usd", "account_closed", "account_closed"),
    ("pm_usBankAccount_noAccount", "usd", "no_account", "no_account"),
    ("pm_usBankAccount_insufficientFunds", "usd", "insufficient_funds", "insufficient_funds"),
    ("pm_usBankAccount_debitNotAuthorized", "usd", "debit_not_authorized", "debit_not_authorized"),
    ("pm_failed_de", "eur", "incorrect_account_holder_name", "payment_intent_payment_attempt_failed"),
    ("pm_insufficientFunds_de", "eur", "insufficient_funds", "insufficient_funds"),
]


async def debit(client: stripe.StripeClient, token: str, **params: Any) -> stripe.PaymentIntent:
    """An intent that is confirmed with a bank account."""
    currency = "usd" if isinstance(TEST_METHODS[token].details, UsBankAccountDetails) else "eur"
    return await create(
        client,
        currency=currency,
        allowed_payment_method_types=["card", "us_bank_account", "sepa_debit"],
        payment_method=token,
        confirm=True,
        mandate_data=MANDATE,
        **params,
    )


def types(account: StripeAccount) -> list[str]:
    return [event.type.value for event in account.all(Event)]


@pytest.mark.parametrize(("token", "currency"), SUCCEEDS)
async def test_a_debit_is_processing_until_its_money_arrives(
    account: StripeAccount, direct: stripe.StripeClient, token: str, currency: str
) -> None:
    processing = await debit(direct, token)
    [pending] = account.all(Charge, list_key=processing.id)

    account.clock.advance(5)

    settled = await direct.v1.payment_intents.retrieve_async(processing.id)
    [paid] = account.all(Charge, list_key=processing.id)
    assert (processing.status, processing.amount_received, processing.currency) == ("processing", 0, currency)
    assert (pending.status, pending.paid, pending.amount_captured) == ("pending", False, 0)
    assert (settled.status, settled.amount_received, settled.latest_charge) == ("succeeded", 2_599, pending.id)
    assert (paid.id, paid.status, paid.paid, paid.amount_captured) == (pending.id, "succeeded", True, 2_599)
    assert types(account) == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


@pytest.mark.parametrize(("token", "currency", "failure_code", "error_code"), FAILS)
async def test_a_debit_that_fails_wants_another_payment_method(
    account: StripeAccount, direct: stripe.StripeClient, token: str, currency: str, failure_code: str, error_code: str
) -> None:
    processing = await debit(direct, token)

    account.clock.advance(5)

    failed = await direct.v1.payment_intents.retrieve_async(processing.id)
    [charge] = account.all(Charge, list_key=processing.id)
    error = failed.last_payment_error
    assert (failed.status, failed.payment_method, failed.amount_received) == ("requires_payment_method", None, 0)
    assert error is not None
    assert (error.code, error.charge, error.type) == (error_code, charge.id, "invalid_request_error")
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", failure_code, False)
    assert types(account)[-2:] == ["charge.failed", "payment_intent.payment_failed"]


@pytest.mark.parametrize(
    ("token", "status"), [("pm_successDelayed_de", "succeeded"), ("pm_failedDelayed_de", "requires_payment_method")]
)
async def test_some_debits_take_three_minutes_at_least(
    account: StripeAccount, direct: stripe.StripeClient, token: str, status: str
) -> None:
    processing = await debit(direct, token)

    account.clock.advance(179)
    before = account.get(Intent, processing.id).status
    account.clock.advance(1)

    assert (before, account.get(Intent, processing.id).status) == ("processing", status)


async def test_one_debit_is_processing_for_ever_and_the_only_one_that_can_be_canceled(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    processing = await debit(direct, "pm_usBankAccount_processing")
    account.clock.advance(90 * 24 * 3_600)

    still = await direct.v1.payment_intents.retrieve_async(processing.id)
    canceled = await direct.v1.payment_intents.cancel_async(processing.id)

    assert (still.status, canceled.status) == ("processing", "canceled")


async def test_a_refused_cancellation_of_a_debit_is_replayed_whatever_became_of_it(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    processing = await debit(direct, "pm_failed_de")
    cancel = direct.v1.payment_intents.cancel_async

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await cancel(processing.id, {}, {"idempotency_key": "cancel-1"})
    account.clock.advance(5)
    with pytest.raises(stripe.InvalidRequestError) as replayed:
        await cancel(processing.id, {}, {"idempotency_key": "cancel-1"})
    canceled = await cancel(processing.id, {}, {"idempotency_key": "cancel-2"})

    assert (refused.value.http_status, refused.value.code) == (400, "payment_intent_unexpected_state")
    assert refused.value.json_body["error"]["payment_intent"]["status"] == "processing"  # type: ignore[index]  # untyped
    assert "idempotent-replayed" not in (refused.value.headers or {})
    assert (replayed.value.headers or {})["idempotent-replayed"] == "true"
    assert replayed.value.http_body == refused.value.http_body
    assert canceled.status == "canceled"


async def test_a_debit_can_be_settled_at_once_and_once(account: StripeAccount, direct: stripe.StripeClient) -> None:
    processing = await debit(direct, "pm_failed_de")

    settled = account.settle(processing.id)
    account.clock.advance(3_600)

    assert (settled.status, account.get(Intent, processing.id).status) == ("succeeded", "succeeded")
    assert types(account).count("payment_intent.succeeded") == 1


async def test_after_a_debit_failed_a_card_pays(account: StripeAccount, direct: stripe.StripeClient) -> None:
    processing = await debit(direct, "pm_success_de")
    failed = account.fail(processing.id, DebitFailureCode.NO_ACCOUNT)

    paid = await direct.v1.payment_intents.confirm_async(processing.id, {"payment_method": "pm_card_visa"})

    assert failed.last_payment_error is not None
    assert (failed.last_payment_error.code, paid.status, paid.last_payment_error) == ("no_account", "succeeded", None)
    assert sorted(charge.status for charge in account.all(Charge, list_key=paid.id)) == ["failed", "succeeded"]


@pytest.mark.parametrize("token", ["pm_usBankAccount_dispute", "pm_disputed_de"])
async def test_a_debit_can_be_disputed_once_it_has_arrived(
    account: StripeAccount, direct: stripe.StripeClient, token: str
) -> None:
    processing = await debit(direct, token)
    account.clock.advance(5)

    [dispute] = (await direct.v1.disputes.list_async({"payment_intent": processing.id})).data

    assert (account.get(Intent, processing.id).status, dispute.status) == ("succeeded", "needs_response")


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
async def test_debits_end_by_a_switch(merchant: Merchant, outcome: str) -> None:
    processing = await debit(merchant.client, "pm_success_de")

    ended = await merchant.switch(f"payment_intents/{processing.id}/settle", outcome=outcome)
    again = await merchant.http.post(f"/_sandbox/payment_intents/{processing.id}/settle", json={"outcome": outcome})
    wrong = await merchant.http.post(f"/_sandbox/payment_intents/{processing.id}/settle", json={"outcome": "vanish"})

    assert ended["status"] == ("succeeded" if outcome == "succeed" else "requires_payment_method")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "payment_intent_unexpected_state")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "outcome")


async def test_a_debit_wants_the_customers_mandate(account: StripeAccount, direct: stripe.StripeClient) -> None:
    intent = await create(direct, currency="eur", allowed_payment_method_types=["sepa_debit"])

    with pytest.raises(stripe.InvalidRequestError, match="requires a mandate") as refused:
        await direct.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_success_de"})

    assert (refused.value.http_status, refused.value.code) == (400, None)
    assert account.get(Intent, intent.id).status == "requires_confirmation"
    assert account.all(Charge) == []


async def test_a_customer_who_confirms_in_the_browser_accepts_the_mandate(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    intent = await create(direct, currency="eur", allowed_payment_method_types=["sepa_debit"])

    of_a_browser: Any = {"payment_method": "pm_success_de", "client_secret": intent.client_secret}
    confirmed = await direct.v1.payment_intents.confirm_async(intent.id, of_a_browser)

    assert confirmed.status == "processing"


@pytest.mark.parametrize(
    ("token", "params", "code"),
    [
        ("pm_success_de", {"currency": "usd"}, "payment_method_currency_mismatch"),
        ("pm_usBankAccount_success", {"currency": "eur"}, "payment_method_currency_mismatch"),
        ("pm_success_de", {"currency": "eur", "capture_method": "manual"}, None),
        (
            "pm_success_de",
            {"currency": "eur", "allowed_payment_method_types": ["card"]},
            "payment_intent_incompatible_payment_method",
        ),
    ],
)
async def test_a_debit_that_does_not_fit_its_intent_is_refused(
    account: StripeAccount, direct: stripe.StripeClient, token: str, params: dict[str, Any], code: str | None
) -> None:
    given = {"allowed_payment_method_types": ["us_bank_account", "sepa_debit"], **params}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await create(direct, payment_method=token, confirm=True, mandate_data=MANDATE, **given)

    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert account.all(Charge) == []


async def test_a_debits_method_and_charge_show_the_bank_account(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    processing = await debit(direct, "pm_success_de", expand=["latest_charge", "payment_method"])

    method, charge = processing.payment_method, processing.latest_charge
    assert isinstance(method, stripe.PaymentMethod)
    assert isinstance(charge, stripe.Charge)
    assert (method.type, method.sepa_debit and method.sepa_debit.last4) == (PaymentMethodType.SEPA_DEBIT, "3000")
    assert "card" not in method.to_dict()
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.sepa_debit is not None
    assert charge.payment_method_details.sepa_debit.country == "DE"
