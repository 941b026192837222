"""Stripe's test cards, by the tokens that stand for them (https://docs.stripe.com/testing)."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.stripe.disputes import DisputeReason, DisputeStatus
from sandbox.stripe.objects import CardDetails, PaymentMethod, RefundFailure, RefundStatus, new_id


@dataclass(frozen=True, slots=True)
class Decline:
    """How the issuer refuses a card (https://docs.stripe.com/declines/codes)."""

    code: str
    message: str


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
class Card:
    """A card and how it behaves: it declines, wants authentication first, or else succeeds.

    Its refunds succeed at once and for good, unless `late_refund` tells another course. What it paid is disputed when
    `disputed` tells how.
    """

    details: CardDetails
    decline: Decline | None = None
    authenticates: bool = False
    late_refund: LateRefund | None = None
    disputed: Disputed | None = None


TEST_CARDS = {
    "pm_card_visa": Card(details=CardDetails(brand="visa", last4="4242")),
    "pm_card_mastercard": Card(details=CardDetails(brand="mastercard", last4="4444")),
    "pm_card_chargeDeclined": Card(
        details=CardDetails(brand="visa", last4="0002"),
        decline=Decline("generic_decline", "Your card was declined."),
    ),
    "pm_card_chargeDeclinedInsufficientFunds": Card(
        details=CardDetails(brand="visa", last4="9995"),
        decline=Decline("insufficient_funds", "Your card has insufficient funds."),
    ),
    "pm_card_authenticationRequired": Card(
        details=CardDetails(brand="visa", last4="3184"),
        authenticates=True,
    ),
    "pm_card_pendingRefund": Card(
        details=CardDetails(brand="visa", last4="7726"),
        late_refund=LateRefund(RefundStatus.PENDING, RefundStatus.SUCCEEDED),
    ),
    "pm_card_refundFail": Card(
        details=CardDetails(brand="visa", last4="5126"),
        late_refund=LateRefund(RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundFailure.EXPIRED_OR_CANCELED_CARD),
    ),
    "pm_card_createDispute": Card(
        details=CardDetails(brand="visa", last4="0259"),
        disputed=Disputed(DisputeStatus.NEEDS_RESPONSE, DisputeReason.FRAUDULENT),
    ),
    "pm_card_createDisputeProductNotReceived": Card(
        details=CardDetails(brand="visa", last4="2685"),
        disputed=Disputed(DisputeStatus.NEEDS_RESPONSE, DisputeReason.PRODUCT_NOT_RECEIVED),
    ),
    "pm_card_createDisputeInquiry": Card(
        details=CardDetails(brand="visa", last4="1976"),
        disputed=Disputed(DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeReason.FRAUDULENT),
    ),
}

_BY_LAST4 = {card.details.last4: card for card in TEST_CARDS.values()}


def card_of(details: CardDetails) -> Card:
    """The test card with the details that a payment method or a charge holds."""
    return _BY_LAST4[details.last4]


def new_payment_method(card: Card, *, at: int) -> PaymentMethod:
    """What Stripe makes of a token at each use: a payment method of its own."""
    return PaymentMethod(id=new_id(PaymentMethod.prefix), created=at, card=card.details)
