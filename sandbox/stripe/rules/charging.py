"""One attempt to take the money of an intent, and how it ends: pure functions, as in `rules`.

A card pays or declines at once. A bank debit is pending first, its intent processing, and is settled days later
(https://docs.stripe.com/payments/payment-methods#payment-notification).
"""

from __future__ import annotations

from msgspec.structs import replace

from sandbox.stripe.errors import ApiError, ErrorType, doc_url
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import Charge, ChargeStatus, Intent, IntentStatus, Outcome, PaymentError
from sandbox.stripe.payment_methods import PaymentMethod, charged_details
from sandbox.stripe.resources import new_id
from sandbox.stripe.rules.changes import Change
from sandbox.stripe.rules.disputing import dispute
from sandbox.stripe.rules.tokens import DebitFailure, Decline, method_of


def attempt(intent: Intent, method: PaymentMethod, *, at: int) -> Change[Intent]:
    """Charge a payment method, which has been authenticated if it must be.

    The change holds the answer's error when the charge is declined.
    """
    behaviour = method_of(method.details)
    if behaviour.decline is not None:
        return _decline(intent, method, behaviour.decline, at=at)
    if behaviour.delay is not None:
        return _begin(intent, method, at=at)
    charge = _charge(intent, method, at=at)
    if intent.capture_method == "manual":
        return _authorize(intent, charge, method)
    return _succeed(intent, charge, method, at=at)


def settle(intent: Intent, charge: Charge, method: PaymentMethod, *, at: int) -> Change[Intent]:
    """The money of a pending charge arrives."""
    return _succeed(intent, charge, method, at=at)


def fail(intent: Intent, charge: Charge, method: PaymentMethod, failure: DebitFailure) -> Change[Intent]:
    """The money of a pending charge does not arrive: another payment method is wanted."""
    outcome = replace(charge.outcome, network_status="declined_by_network", type="issuer_declined")
    failed_charge = replace(
        charge,
        status=ChargeStatus.FAILED,
        outcome=outcome,
        failure_code=failure.failure_code,
        failure_message=failure.message,
    )
    error = PaymentError(
        type=ErrorType.INVALID_REQUEST,
        code=failure.error_code,
        message=failure.message,
        charge=charge.id,
        payment_method=method,
        doc_url=doc_url(failure.error_code),
    )
    failed = awaiting_method(intent, error)
    events = ((EventType.CHARGE_FAILED, failed_charge), (EventType.INTENT_PAYMENT_FAILED, failed))
    return Change(subject=failed, also=(failed_charge,), events=events)


def capture(intent: Intent, charge: Charge, method: PaymentMethod, *, amount: int, at: int) -> Change[Intent]:
    """Take an authorized amount, or less of it; the rest is released."""
    captured = replace(charge, captured=True, amount_captured=amount, balance_transaction=new_id("txn"))
    paid = replace(intent, status=IntentStatus.SUCCEEDED, amount_received=amount, amount_capturable=0)
    events = ((EventType.CHARGE_CAPTURED, captured), (EventType.INTENT_SUCCEEDED, paid))
    return _with_dispute(Change(subject=paid, also=(captured,), events=events), captured, method, at=at)


def release(charge: Charge) -> Charge:
    """An authorization that is not captured any more: its charge shows the amount as refunded."""
    return replace(charge, amount_refunded=charge.amount, refunded=True)


def awaiting_method(intent: Intent, error: PaymentError) -> Intent:
    """The intent after an attempt that failed."""
    return replace(
        intent,
        status=IntentStatus.REQUIRES_PAYMENT_METHOD,
        payment_method=None,
        next_action=None,
        last_payment_error=error,
    )


def _charge(intent: Intent, method: PaymentMethod, *, at: int) -> Charge:
    """What a method is charged, as it is when the network approves of it."""
    behaviour = method_of(method.details)
    return Charge(
        id=new_id(Charge.prefix),
        created=at,
        amount=intent.amount,
        amount_captured=0,
        currency=intent.currency,
        captured=False,
        paid=False,
        status=ChargeStatus.PENDING,
        payment_intent=intent.id,
        payment_method=method.id,
        payment_method_details=charged_details(method.details),
        outcome=Outcome(
            network_status="approved_by_network",
            reason=None,
            seller_message="Payment complete.",
            type="authorized",
            risk_level=behaviour.risk_level,
        ),
        metadata=intent.metadata,
        description=intent.description,
        receipt_email=intent.receipt_email,
    )


def _succeed(intent: Intent, charge: Charge, method: PaymentMethod, *, at: int) -> Change[Intent]:
    paid_charge = replace(
        charge,
        status=ChargeStatus.SUCCEEDED,
        paid=True,
        captured=True,
        amount_captured=charge.amount,
        balance_transaction=new_id("txn"),
    )
    paid = replace(_attempted(intent, charge, method), status=IntentStatus.SUCCEEDED, amount_received=charge.amount)
    events = ((EventType.CHARGE_SUCCEEDED, paid_charge), (EventType.INTENT_SUCCEEDED, paid))
    change = Change(subject=paid, also=(method, paid_charge), events=events)
    return _with_dispute(change, paid_charge, method, at=at)


def _authorize(intent: Intent, charge: Charge, method: PaymentMethod) -> Change[Intent]:
    """Hold the money until it is captured (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""
    authorized = replace(charge, status=ChargeStatus.SUCCEEDED, paid=True)
    held = replace(
        _attempted(intent, charge, method), status=IntentStatus.REQUIRES_CAPTURE, amount_capturable=charge.amount
    )
    events = ((EventType.CHARGE_SUCCEEDED, authorized), (EventType.INTENT_AMOUNT_CAPTURABLE_UPDATED, held))
    return Change(subject=held, also=(method, authorized), events=events)


def _begin(intent: Intent, method: PaymentMethod, *, at: int) -> Change[Intent]:
    pending = _charge(intent, method, at=at)
    processing = replace(_attempted(intent, pending, method), status=IntentStatus.PROCESSING)
    events = ((EventType.CHARGE_PENDING, pending), (EventType.INTENT_PROCESSING, processing))
    return Change(subject=processing, also=(method, pending), events=events)


def _decline(intent: Intent, method: PaymentMethod, decline: Decline, *, at: int) -> Change[Intent]:
    charge = replace(
        _charge(intent, method, at=at),
        status=ChargeStatus.FAILED,
        outcome=_refusal(decline, risk_level=method_of(method.details).risk_level),
        failure_code=decline.code,
        failure_message=decline.message,
    )
    error = PaymentError(
        type=ErrorType.CARD,
        code=decline.code,
        decline_code=decline.decline_code,
        advice_code=decline.advice_code,
        message=decline.message,
        param=decline.param,
        charge=charge.id,
        payment_method=method,
        doc_url=doc_url(decline.code),
    )
    failed = replace(awaiting_method(intent, error), latest_charge=charge.id)
    return Change(
        subject=failed,
        also=(method, charge),
        events=((EventType.CHARGE_FAILED, charge), (EventType.INTENT_PAYMENT_FAILED, failed)),
        error=ApiError(402, decline.message, kind=ErrorType.CARD, intent=failed, failure=error),
    )


def _refusal(decline: Decline, *, risk_level: str) -> Outcome:
    if decline.blocked:
        return Outcome(
            network_status="not_sent_to_network",
            reason="highest_risk_level",
            seller_message="Stripe blocked this payment as too risky.",
            type="blocked",
            risk_level=risk_level,
        )
    return Outcome(
        network_status="declined_by_network",
        reason=decline.decline_code,
        seller_message=f"The bank returned the decline code `{decline.decline_code}`.",
        type="issuer_declined",
        risk_level=risk_level,
        advice_code=decline.advice_code,
    )


def _attempted(intent: Intent, charge: Charge, method: PaymentMethod) -> Intent:
    return replace(intent, latest_charge=charge.id, payment_method=method.id, next_action=None, last_payment_error=None)


def _with_dispute(change: Change[Intent], charge: Charge, method: PaymentMethod, *, at: int) -> Change[Intent]:
    disputed = method_of(method.details).disputed
    if disputed is None:
        return change
    return change.followed_by(dispute(charge, status=disputed.status, reason=disputed.reason, amount=None, at=at))
