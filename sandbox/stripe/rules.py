"""What may become of an intent, and which events tell of it: pure functions.

They follow https://docs.stripe.com/payments/paymentintents/lifecycle. A refusal is raised and changes nothing; a
declined card does change the intent, so its error comes back with the change.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from sandbox.stripe.cards import Decline, card_of
from sandbox.stripe.charging import Change, attempt
from sandbox.stripe.commands import CancelIntent, ConfirmIntent, CreateIntent
from sandbox.stripe.currencies import check_amount, check_currency
from sandbox.stripe.disputing import dispute
from sandbox.stripe.errors import ApiError, ErrorType, invalid, unexpected_state
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import (
    ChargeStatus,
    Intent,
    IntentStatus,
    NextAction,
    Outcome,
    PaymentError,
    PaymentMethod,
    RedirectToUrl,
    new_id,
)

_CANCELABLE = (
    IntentStatus.REQUIRES_PAYMENT_METHOD,
    IntentStatus.REQUIRES_CAPTURE,
    IntentStatus.REQUIRES_CONFIRMATION,
    IntentStatus.REQUIRES_ACTION,
    IntentStatus.PROCESSING,
)
_CONFIRMABLE = (
    IntentStatus.REQUIRES_PAYMENT_METHOD,
    IntentStatus.REQUIRES_CONFIRMATION,
    IntentStatus.REQUIRES_ACTION,
)


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


def check_confirmable(intent: Intent) -> None:
    """Raise ApiError (400 ``payment_intent_unexpected_state``) when the status forbids a confirmation."""
    if intent.status is IntentStatus.SUCCEEDED:
        raise unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
        )
    if intent.status not in _CONFIRMABLE:
        raise unexpected_state(intent, _forbidden("confirm", intent, _CONFIRMABLE))


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
    _check_types(intent, method)
    _check_return_url(intent, command)
    card = card_of(method.card)
    if card.decline is not None:
        return _decline(intent, method, card.decline, at=at)
    if card.authenticates:
        return _ask_for_authentication(intent, method, command, authentication_url)
    return _succeed(intent, method, at=at)


def check_awaits_authentication(intent: Intent) -> None:
    """Raise ApiError (400 ``payment_intent_unexpected_state``) when there is nothing to authenticate."""
    if intent.status is not IntentStatus.REQUIRES_ACTION:
        raise unexpected_state(intent, f"There is nothing to authenticate: the status is {intent.status}.")


def authenticate(intent: Intent, method: PaymentMethod, outcome: Authentication, *, at: int) -> Change[Intent]:
    """The customer is back from authentication: the money is taken, or another payment method is wanted.

    Raises:
        ApiError: 400 ``payment_intent_unexpected_state`` when the intent does not wait for it.
    """
    check_awaits_authentication(intent)
    if outcome is Authentication.SUCCEED:
        return _succeed(intent, method, at=at)
    error = PaymentError(
        type=ErrorType.INVALID_REQUEST,
        code="payment_intent_authentication_failure",
        message="The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        payment_method=method,
    )
    failed = _awaiting_method(intent, error)
    return Change(subject=failed, events=((EventType.INTENT_PAYMENT_FAILED, failed),))


def cancel(intent: Intent, command: CancelIntent, *, at: int) -> Change[Intent]:
    """End an intent that took no money.

    Raises:
        ApiError: 400 ``payment_intent_unexpected_state`` when it succeeded or was canceled before.
    """
    if intent.status not in _CANCELABLE:
        raise unexpected_state(intent, _forbidden("cancel", intent, _CANCELABLE))
    canceled = replace(
        intent,
        status=IntentStatus.CANCELED,
        canceled_at=at,
        cancellation_reason=command.reason,
        next_action=None,
    )
    return Change(subject=canceled, events=((EventType.INTENT_CANCELED, canceled),))


def _succeed(intent: Intent, method: PaymentMethod, *, at: int) -> Change[Intent]:
    outcome = Outcome(
        network_status="approved_by_network", reason=None, seller_message="Payment complete.", type="authorized"
    )
    charge = attempt(intent, method, status=ChargeStatus.SUCCEEDED, outcome=outcome, at=at)
    paid = replace(
        intent,
        status=IntentStatus.SUCCEEDED,
        amount_received=intent.amount,
        latest_charge=charge.id,
        payment_method=method.id,
        next_action=None,
        last_payment_error=None,
    )
    events = ((EventType.CHARGE_SUCCEEDED, charge), (EventType.INTENT_SUCCEEDED, paid))
    change = Change(subject=paid, also=(method, charge), events=events)
    disputed = card_of(method.card).disputed
    if disputed is None:
        return change
    return change.followed_by(dispute(charge, status=disputed.status, reason=disputed.reason, amount=None, at=at))


def _decline(intent: Intent, method: PaymentMethod, decline: Decline, *, at: int) -> Change[Intent]:
    outcome = Outcome(
        network_status="declined_by_network",
        reason=decline.code,
        seller_message="The bank returned the decline code " + f"`{decline.code}`.",
        type="issuer_declined",
    )
    charge = replace(
        attempt(intent, method, status=ChargeStatus.FAILED, outcome=outcome, at=at),
        failure_code="card_declined",
        failure_message=decline.message,
    )
    error = PaymentError(
        type=ErrorType.CARD,
        code="card_declined",
        decline_code=decline.code,
        message=decline.message,
        charge=charge.id,
        payment_method=method,
    )
    failed = replace(_awaiting_method(intent, error), latest_charge=charge.id)
    return Change(
        subject=failed,
        also=(method, charge),
        events=((EventType.CHARGE_FAILED, charge), (EventType.INTENT_PAYMENT_FAILED, failed)),
        error=ApiError(402, decline.message, kind=ErrorType.CARD, intent=failed, failure=error),
    )


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


def _awaiting_method(intent: Intent, error: PaymentError) -> Intent:
    return replace(
        intent,
        status=IntentStatus.REQUIRES_PAYMENT_METHOD,
        payment_method=None,
        next_action=None,
        last_payment_error=error,
    )


def _check_types(intent: Intent, method: PaymentMethod) -> None:
    if method.type not in intent.payment_method_types:
        raise invalid(
            f"The PaymentMethod provided ({method.type}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod with one of the following types: {', '.join(intent.payment_method_types)}.",
            code="payment_intent_incompatible_payment_method",
            param="payment_method",
        )


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


def _forbidden(verb: str, intent: Intent, allowed: tuple[IntentStatus, ...]) -> str:
    return (
        f"You cannot {verb} this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent with "
        f"one of the following statuses may be {verb}ed: {', '.join(allowed)}."
    )
