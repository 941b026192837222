"""Stripe's test payment methods, by the tokens that stand for them, and how each behaves.

Cards are those of https://docs.stripe.com/testing?testing-method=payment-methods, US bank accounts those of
https://docs.stripe.com/payments/ach-direct-debit/accept-a-payment, German ones those of
https://docs.stripe.com/payments/sepa-debit/accept-a-payment. Tokens that differ from these in brand or country alone
are left out. ``pm_card_chargeDeclined`` and ``pm_card_chargeDeclinedInsufficientFunds`` are older names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sandbox.stripe.disputes import DisputeReason, DisputeStatus
from sandbox.stripe.objects import RefundFailure, RefundStatus
from sandbox.stripe.payment_methods import (
    CardDetails,
    MethodDetails,
    SepaDebitDetails,
    UsBankAccountDetails,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """How a card is refused (https://docs.stripe.com/declines/codes).

    `code` is the error's (https://docs.stripe.com/error-codes), `param` what of the card is wrong, `advice_code` what
    to do (https://docs.stripe.com/declines#retrying-issuer-declines). A blocked payment is refused by Stripe and never
    sent to the card's network (https://docs.stripe.com/radar/risk-evaluation).
    """

    decline_code: str
    message: str = "Your card was declined."
    code: str = "card_declined"
    param: str | None = None
    advice_code: str | None = None
    blocked: bool = False


class DebitFailureCode(StrEnum):
    """The failure code of a bank debit's charge (https://docs.stripe.com/payments/ach-direct-debit#transaction-failures)."""

    ACCOUNT_CLOSED = "account_closed"
    DEBIT_NOT_AUTHORIZED = "debit_not_authorized"
    INCORRECT_ACCOUNT_HOLDER_NAME = "incorrect_account_holder_name"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    NO_ACCOUNT = "no_account"


@dataclass(frozen=True, slots=True, kw_only=True)
class DebitFailure:
    """How a bank debit fails: the code on the charge, and that of the intent's error."""

    failure_code: DebitFailureCode
    error_code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """A payment that is processing first, as bank debits are; how it ends by itself, if it does.

    `least_seconds` is the time that passes at least. Only rarely can a payment be canceled meanwhile
    (https://docs.stripe.com/api/payment_intents/cancel).
    """

    ends: bool = True
    failure: DebitFailure | None = None
    least_seconds: float = 0.0
    cancelable: bool = False


@dataclass(frozen=True, slots=True)
class LateRefund:
    """A refund that is not done at once (https://docs.stripe.com/testing#refunds): how it begins and how it ends."""

    begins: RefundStatus
    ends: RefundStatus
    failure: RefundFailure | None = None


@dataclass(frozen=True, slots=True)
class Disputed:
    """How a charge is disputed once it succeeded (https://docs.stripe.com/testing#disputes)."""

    status: DisputeStatus
    reason: DisputeReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A payment method and how it behaves: it wants authentication first if so, then declines, is delayed or succeeds.

    Its refunds succeed at once and for good, unless `late_refund` says otherwise. What it paid is disputed when
    `disputed` says how.
    """

    details: MethodDetails
    authenticates: bool = False
    decline: Decline | None = None
    delay: Delay | None = None
    late_refund: LateRefund | None = None
    disputed: Disputed | None = None
    risk_level: str = "normal"


def _visa(
    last4: str,
    *,
    authenticates: bool = False,
    decline: Decline | None = None,
    late_refund: LateRefund | None = None,
    disputed: Disputed | None = None,
    risk_level: str = "normal",
) -> Method:
    return Method(
        details=CardDetails(brand="visa", last4=last4),
        authenticates=authenticates,
        decline=decline,
        late_refund=late_refund,
        disputed=disputed,
        risk_level=risk_level,
    )


def _us_account(last4: str, *, delay: Delay, disputed: Disputed | None = None) -> Method:
    details = UsBankAccountDetails(last4=last4, routing_number="110000000")
    return Method(details=details, delay=delay, disputed=disputed, risk_level="not_assessed")


def _german_account(last4: str, *, delay: Delay, disputed: Disputed | None = None) -> Method:
    details = SepaDebitDetails(last4=last4, bank_code="37040044", country="DE")
    return Method(details=details, delay=delay, disputed=disputed, risk_level="not_assessed")


def _debit_failure(code: DebitFailureCode, message: str, *, error_code: str | None = None) -> DebitFailure:
    return DebitFailure(failure_code=code, error_code=error_code or code, message=message)


DEBIT_FAILURES = {
    failure.failure_code: failure
    for failure in (
        _debit_failure(DebitFailureCode.ACCOUNT_CLOSED, "The customer's bank account has been closed."),
        _debit_failure(
            DebitFailureCode.DEBIT_NOT_AUTHORIZED, "The customer has notified their bank that it was not authorized."
        ),
        _debit_failure(
            DebitFailureCode.INCORRECT_ACCOUNT_HOLDER_NAME,
            "The payment failed because the account holder's name is incorrect.",
            error_code="payment_intent_payment_attempt_failed",
        ),
        _debit_failure(DebitFailureCode.INSUFFICIENT_FUNDS, "The customer's bank account has insufficient funds."),
        _debit_failure(DebitFailureCode.NO_ACCOUNT, "The customer's bank account could not be located."),
    )
}


def _failing(code: DebitFailureCode, *, least_seconds: float = 0.0) -> Delay:
    return Delay(failure=DEBIT_FAILURES[code], least_seconds=least_seconds)


_GENERIC = Decline(decline_code="generic_decline", advice_code="try_again_later")
_INSUFFICIENT = Decline(
    decline_code="insufficient_funds", message="Your card has insufficient funds.", advice_code="try_again_later"
)
_FRAUDULENT = Disputed(DisputeStatus.NEEDS_RESPONSE, DisputeReason.FRAUDULENT)
_THREE_MINUTES = 180.0

_CARDS = {
    "pm_card_visa": _visa("4242"),
    "pm_card_mastercard": Method(details=CardDetails(brand="mastercard", last4="4444")),
    "pm_card_visa_chargeDeclined": _visa("0002", decline=_GENERIC),
    "pm_card_chargeDeclined": _visa("0002", decline=_GENERIC),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _visa("9995", decline=_INSUFFICIENT),
    "pm_card_chargeDeclinedInsufficientFunds": _visa("9995", decline=_INSUFFICIENT),
    "pm_card_visa_chargeDeclinedLostCard": _visa(
        "9987", decline=Decline(decline_code="lost_card", advice_code="do_not_try_again")
    ),
    "pm_card_visa_chargeDeclinedStolenCard": _visa(
        "9979", decline=Decline(decline_code="stolen_card", advice_code="do_not_try_again")
    ),
    "pm_card_chargeDeclinedExpiredCard": _visa(
        "0069",
        decline=Decline(
            decline_code="expired_card",
            message="Your card has expired.",
            code="expired_card",
            param="exp_month",
            advice_code="confirm_card_data",
        ),
    ),
    "pm_card_chargeDeclinedIncorrectCvc": _visa(
        "0127",
        decline=Decline(
            decline_code="incorrect_cvc",
            message="Your card's security code is incorrect.",
            code="incorrect_cvc",
            param="cvc",
            advice_code="confirm_card_data",
        ),
    ),
    "pm_card_chargeDeclinedProcessingError": _visa(
        "0119",
        decline=Decline(
            decline_code="processing_error",
            message="An error occurred while processing your card. Try again in a little bit.",
            code="processing_error",
            advice_code="try_again_later",
        ),
    ),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": _visa(
        "6975",
        decline=Decline(
            decline_code="card_velocity_exceeded",
            message="Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        ),
    ),
    "pm_card_chargeCustomerFail": _visa("0341", decline=_GENERIC),
    "pm_card_radarBlock": _visa("0019", decline=Decline(decline_code="fraudulent", blocked=True), risk_level="highest"),
    "pm_card_riskLevelElevated": _visa("9235", risk_level="elevated"),
    "pm_card_authenticationRequired": _visa("3184", authenticates=True),
    "pm_card_authenticationRequiredOnSetup": _visa("3155", authenticates=True),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": _visa(
        "3178", authenticates=True, decline=_INSUFFICIENT
    ),
    "pm_card_threeDSecure2Required": _visa("3220", authenticates=True),
    "pm_card_threeDSecureRequired": _visa("3063", authenticates=True),
    "pm_card_threeDSecureRequiredChargeDeclined": _visa("1629", authenticates=True, decline=_GENERIC),
    "pm_card_pendingRefund": _visa("7726", late_refund=LateRefund(RefundStatus.PENDING, RefundStatus.SUCCEEDED)),
    "pm_card_refundFail": _visa(
        "5126",
        late_refund=LateRefund(RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundFailure.EXPIRED_OR_CANCELED_CARD),
    ),
    "pm_card_createDispute": _visa("0259", disputed=_FRAUDULENT),
    "pm_card_createDisputeProductNotReceived": _visa(
        "2685", disputed=Disputed(DisputeStatus.NEEDS_RESPONSE, DisputeReason.PRODUCT_NOT_RECEIVED)
    ),
    "pm_card_createDisputeInquiry": _visa(
        "1976", disputed=Disputed(DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeReason.FRAUDULENT)
    ),
}
_US_BANK_ACCOUNTS = {
    "pm_usBankAccount_success": _us_account("6789", delay=Delay()),
    "pm_usBankAccount_accountClosed": _us_account("1113", delay=_failing(DebitFailureCode.ACCOUNT_CLOSED)),
    "pm_usBankAccount_noAccount": _us_account("1116", delay=_failing(DebitFailureCode.NO_ACCOUNT)),
    "pm_usBankAccount_insufficientFunds": _us_account("2227", delay=_failing(DebitFailureCode.INSUFFICIENT_FUNDS)),
    "pm_usBankAccount_debitNotAuthorized": _us_account("3335", delay=_failing(DebitFailureCode.DEBIT_NOT_AUTHORIZED)),
    "pm_usBankAccount_dispute": _us_account("5559", delay=Delay(), disputed=_FRAUDULENT),
    "pm_usBankAccount_processing": _us_account("0009", delay=Delay(ends=False, cancelable=True)),
}
_GERMAN_BANK_ACCOUNTS = {
    "pm_success_de": _german_account("3000", delay=Delay()),
    "pm_successDelayed_de": _german_account("3003", delay=Delay(least_seconds=_THREE_MINUTES)),
    "pm_failed_de": _german_account("3001", delay=_failing(DebitFailureCode.INCORRECT_ACCOUNT_HOLDER_NAME)),
    "pm_failedDelayed_de": _german_account(
        "3004", delay=_failing(DebitFailureCode.INCORRECT_ACCOUNT_HOLDER_NAME, least_seconds=_THREE_MINUTES)
    ),
    "pm_disputed_de": _german_account("3002", delay=Delay(), disputed=_FRAUDULENT),
    "pm_insufficientFunds_de": _german_account("2227", delay=_failing(DebitFailureCode.INSUFFICIENT_FUNDS)),
}
TEST_METHODS = {**_CARDS, **_US_BANK_ACCOUNTS, **_GERMAN_BANK_ACCOUNTS}

_BY_DETAILS = {method.details: method for method in TEST_METHODS.values()}


def method_of(details: MethodDetails) -> Method:
    """The test method with the details that a payment method or a charge holds."""
    return _BY_DETAILS[details]
