"""What may become of an intent, and which events it sends: pure functions.

They follow https://docs.stripe.com/payments/paymentintents/lifecycle. A refusal is raised and changes nothing; a
declined card does change the intent, so its error comes back with the change.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from sandbox.stripe.commands import CaptureMethod, ConfirmIntent, CreateIntent, UpdateIntent
from sandbox.stripe.errors import ApiError, ErrorType, doc_url, invalid, unexpected_state
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import Intent, IntentStatus, NextAction, PaymentError, RedirectToUrl
from sandbox.stripe.payment_methods import PaymentMethod, PaymentMethodType
from sandbox.stripe.resources import new_id
from sandbox.stripe.rules import charging
from sandbox.stripe.rules.changes import Change
from sandbox.stripe.rules.currencies import check_amount, check_currency
from sandbox.stripe.rules.tokens import method_of

_OPEN = (
    IntentStatus.REQUIRES_PAYMENT_METHOD,
    IntentStatus.REQUIRES_CONFIRMATION,
    IntentStatus.REQUIRES_ACTION,
)
_CURRENCY_OF_DEBITS = {PaymentMethodType.US_BANK_ACCOUNT: "usd", PaymentMethodType.SEPA_DEBIT: "eur"}


class Authentication(StrEnum):
    """How the customer's authentication ended."""

    SUCCEED = "succeed"
    FAIL = "fail"


def create(command: CreateIntent, method: PaymentMethod | None, *, at: int) -> Change[Intent]:
    """A new intent, not confirmed yet."""
    currency = check_currency(command.currency)
    check_amount(command.amount, currency)
    intent_id = new_id(Intent.prefix)
    status = IntentStatus.REQUIRES_PAYMENT_METHOD if method is None else IntentStatus.REQUIRES_CONFIRMATION
    intent = Intent(
        id=intent_id,
        created=at,
        amount=command.amount,
        currency=currency,
        client_secret=new_id(f"{intent_id}_secret", size=25),
        status=status,
        payment_method=None if method is None else method.id,
        allowed_payment_method_types=command.allowed_payment_method_types,
        payment_method_types=command.payment_method_types or ["card"],
        automatic_payment_methods=command.automatic,
        capture_method=command.capture_method,
        metadata=command.metadata,
        description=command.description,
        receipt_email=command.receipt_email,
        statement_descriptor_suffix=command.statement_descriptor_suffix,
    )
    stored = () if method is None else (method,)
    return Change(subject=intent, also=stored, events=((EventType.INTENT_CREATED, intent),))


def update(intent: Intent, method: PaymentMethod | None, command: UpdateIntent) -> Change[Intent]:
    """Change an intent; what is to be paid and how, only until it is.

    An intent that has a payment method, or waits for the customer, is to be confirmed again then.

    Raises:
        ApiError: 400 when the intent's status or the amount does not allow it.
    """
    changed = replace(
        intent,
        metadata=merge_metadata(intent.metadata, command.metadata),
        description=command.description or intent.description,
        receipt_email=command.receipt_email or intent.receipt_email,
        statement_descriptor_suffix=command.statement_descriptor_suffix or intent.statement_descriptor_suffix,
    )
    terms = {
        "amount": command.amount,
        "currency": command.currency,
        "payment_method": command.payment_method,
        "allowed_payment_method_types": command.payment_method_types or None,
    }
    given = [name for name, value in terms.items() if value is not None]
    if not given:
        return Change(subject=changed)
    if intent.status not in _OPEN:
        raise unexpected_state(
            intent,
            f"This PaymentIntent's {given[0]} could not be updated because it has a status of {intent.status}. You may "
            f"only update the {given[0]} of a PaymentIntent with one of the following statuses: {', '.join(_OPEN)}.",
        )
    currency = check_currency(command.currency or intent.currency)
    check_amount(command.amount or intent.amount, currency)
    method_id = intent.payment_method if method is None else method.id
    changed = replace(
        changed,
        amount=command.amount or intent.amount,
        currency=currency,
        payment_method=method_id,
        allowed_payment_method_types=command.allowed_payment_method_types or intent.allowed_payment_method_types,
        payment_method_types=command.payment_method_types or intent.payment_method_types,
        status=IntentStatus.REQUIRES_PAYMENT_METHOD if method_id is None else IntentStatus.REQUIRES_CONFIRMATION,
        next_action=None,
    )
    return Change(subject=changed, also=() if method is None else (method,))


def check_confirmable(intent: Intent) -> None:
    """Raise ApiError (400 ``payment_intent_unexpected_state``) when the status forbids a confirmation."""
    if intent.status is IntentStatus.SUCCEEDED:
        raise unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
        )
    if intent.status not in _OPEN:
        raise unexpected_state(intent, forbidden("confirm", intent, _OPEN))


def confirm(
    intent: Intent, method: PaymentMethod | None, command: ConfirmIntent, *, at: int, authentication_url: str
) -> Change[Intent]:
    """Try to take the money, or ask the customer to authenticate at `authentication_url` first.

    Raises:
        ApiError: 400 when the intent's status, payment method or return URL does not allow it.
    """
    check_confirmable(intent)
    if method is None:
        raise unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
        )
    _check_method(intent, method)
    _check_return_url(intent, command)
    if method.type in _CURRENCY_OF_DEBITS and not command.has_mandate:
        return _ask_for_mandate(intent, method)
    if method_of(method.details).authenticates:
        return _ask_for_authentication(intent, method, command, authentication_url)
    return charging.attempt(intent, method, at=at)


def check_awaits_authentication(intent: Intent) -> None:
    """Raise ApiError (400 ``payment_intent_unexpected_state``) when there is nothing to authenticate."""
    if intent.status is not IntentStatus.REQUIRES_ACTION:
        raise unexpected_state(intent, f"There is nothing to authenticate: the status is {intent.status}.")


def authenticate(intent: Intent, method: PaymentMethod, outcome: Authentication, *, at: int) -> Change[Intent]:
    """The customer is back from authentication: the money is taken, or another payment method is wanted.

    A failed authentication is an attempt without a charge: nothing was sent to the card's network. It sends
    ``payment_intent.payment_failed``, and `last_payment_error` has its code
    (https://docs.stripe.com/error-codes#payment-intent-authentication-failure).

    Raises:
        ApiError: 400 ``payment_intent_unexpected_state`` when the intent does not wait for it.
    """
    check_awaits_authentication(intent)
    if outcome is Authentication.SUCCEED:
        return charging.attempt(intent, method, at=at)
    code = "payment_intent_authentication_failure"
    error = PaymentError(
        type=ErrorType.INVALID_REQUEST,
        code=code,
        message="The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        payment_method=method,
        doc_url=doc_url(code),
    )
    failed = charging.awaiting_method(intent, error)
    return Change(subject=failed, events=((EventType.INTENT_PAYMENT_FAILED, failed),))


def merge_metadata(metadata: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """https://docs.stripe.com/metadata: an empty value removes its key."""
    return {key: value for key, value in (metadata | given).items() if value}


def _ask_for_mandate(intent: Intent, method: PaymentMethod) -> Change[Intent]:
    """A bank debit that its customer did not accept is refused, and the intent keeps the payment method.

    https://docs.stripe.com/payments/ach-direct-debit#mandates
    """
    waiting = replace(intent, status=IntentStatus.REQUIRES_CONFIRMATION, payment_method=method.id, next_action=None)
    message = (
        "This PaymentIntent requires a mandate, but no existing mandate was found. Collect mandate acceptance from the "
        "customer and try again, providing acceptance data in the mandate_data parameter."
    )
    return Change(subject=waiting, also=(method,), error=ApiError(400, message, intent=waiting))


def _ask_for_authentication(
    intent: Intent, method: PaymentMethod, command: ConfirmIntent, authentication_url: str
) -> Change[Intent]:
    if command.return_url is not None and not command.use_stripe_sdk:
        redirect = RedirectToUrl(url=authentication_url, return_url=command.return_url)
        action = NextAction(type="redirect_to_url", redirect_to_url=redirect)
    else:
        sdk = {"type": "three_d_secure_redirect", "stripe_js": authentication_url}
        action = NextAction(type="use_stripe_sdk", use_stripe_sdk=sdk)
    waiting = replace(
        intent,
        status=IntentStatus.REQUIRES_ACTION,
        payment_method=method.id,
        next_action=action,
        last_payment_error=None,
    )
    return Change(subject=waiting, also=(method,), events=((EventType.INTENT_REQUIRES_ACTION, waiting),))


def _check_method(intent: Intent, method: PaymentMethod) -> None:
    if method.type not in intent.payment_method_types:
        raise invalid(
            f"The PaymentMethod provided ({method.type}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod with one of the following types: {', '.join(intent.payment_method_types)}.",
            code="payment_intent_incompatible_payment_method",
            param="payment_method",
        )
    currency = _CURRENCY_OF_DEBITS.get(method.type)
    if currency is not None and intent.currency != currency:
        raise invalid(
            f"The payment method type {method.type} takes {currency} alone, but the PaymentIntent is in "
            f"{intent.currency}.",
            code="payment_method_currency_mismatch",
            param="payment_method",
        )
    if currency is not None and intent.capture_method == CaptureMethod.MANUAL:
        raise invalid(f"The payment method type {method.type} does not support manual capture.", param="capture_method")


def _check_return_url(intent: Intent, command: ConfirmIntent) -> None:
    automatic = intent.automatic_payment_methods
    if automatic is not None and automatic.allow_redirects != "never" and command.return_url is None:
        raise invalid(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents."
        )


def forbidden(verb: str, intent: Intent, allowed: tuple[IntentStatus, ...]) -> str:
    """The message that an intent's status forbids a call."""
    return (
        f"You cannot {verb} this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent with "
        f"one of the following statuses may be {verb}ed: {', '.join(allowed)}."
    )
