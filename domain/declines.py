"""Why a payment was declined, as its customer is told.

What a bank thinks of a card that was stolen is none of whoever holds it: Stripe wants that shown like any other decline
(https://docs.stripe.com/declines/codes). So a code is shown if it is in this table, and as `GENERIC` if it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GENERIC: Final = "generic_decline"
_NUMBER: Final = "The card number is wrong."
_EXPIRY: Final = "The expiry date of the card is wrong."
_CODE: Final = "The security code of the card is wrong."
_LIMIT: Final = "The card has been used too often, or for too much."
_AGAIN: Final = "The bank could not answer just now. Try again."
DECLINES: Final[Mapping[str, str]] = {
    GENERIC: "The payment was declined. The bank of the card can say why; another card may do.",
    "insufficient_funds": "There is not enough money in the account of the card.",
    "expired_card": "The card has expired.",
    "incorrect_number": _NUMBER,
    "invalid_number": _NUMBER,
    "invalid_expiry_month": _EXPIRY,
    "invalid_expiry_year": _EXPIRY,
    "incorrect_cvc": _CODE,
    "invalid_cvc": _CODE,
    "incorrect_zip": "The postal code does not belong to the card.",
    "card_velocity_exceeded": _LIMIT,
    "withdrawal_count_limit_exceeded": _LIMIT,
    "card_not_supported": "The card is not made for this kind of purchase.",
    "currency_not_supported": "The card does not take this currency.",
    "authentication_required": "The bank wants the payment to be confirmed. Try again, and confirm it.",
    "payment_intent_authentication_failure": "The payment was not confirmed with the bank. Try again, and confirm it.",
    "processing_error": _AGAIN,
    "issuer_not_available": _AGAIN,
    "reenter_transaction": _AGAIN,
    "try_again_later": _AGAIN,
}
"""Stripe's code to what is wrong, in words for the customer."""


def shown_decline_code(code: str) -> str:
    """The code that a customer sees of a decline; `code` is Stripe's, empty where it came without one."""
    return code if code in DECLINES else GENERIC
