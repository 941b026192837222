"""Stripe's test cards, by the tokens that stand for them (https://docs.stripe.com/testing)."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.stripe.objects import CardDetails, PaymentMethod, new_id


@dataclass(frozen=True, slots=True)
class Decline:
    """How the issuer refuses a card (https://docs.stripe.com/declines/codes)."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card and how it behaves: it declines, wants authentication first, or else succeeds."""

    details: CardDetails
    decline: Decline | None = None
    authenticates: bool = False


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
}

_BY_LAST4 = {card.details.last4: card for card in TEST_CARDS.values()}


def card_of(method: PaymentMethod) -> Card:
    """The test card that a stored payment method was made from."""
    return _BY_LAST4[method.card.last4]


def new_payment_method(card: Card, *, at: int) -> PaymentMethod:
    """What Stripe makes of a token at each use: a payment method of its own."""
    return PaymentMethod(id=new_id(PaymentMethod.prefix), created=at, card=card.details)
