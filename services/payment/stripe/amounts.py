"""Stripe's own units and limits for amounts, which differ from ISO 4217's (https://docs.stripe.com/currencies).

We count in ISO's minor units. Stripe counts ISK and UGX, which have none, in hundredths that must be whole; MGA,
which has hundredths, in whole ariary; and the third decimal of a dinar or rial must be 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.money import EXPONENTS, format_money
from services.payment.stripe.errors import PaymentRejected

_ZERO_DECIMAL: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_WHOLE_BUT_TWO_DECIMAL: Final = frozenset({"ISK", "UGX"})
_THREE_DECIMAL: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_NOT_TAKEN: Final = frozenset(
    {
        "BTN",
        "CUP",
        "ERN",
        "IQD",
        "IRR",
        "KPW",
        "LYD",
        "MRU",
        "SDG",
        "SSP",
        "STN",
        "SVC",
        "SYP",
        "TMT",
        "VED",
        "VES",
        "ZWG",
    }
)

_MINIMUM: Final[Mapping[str, int]] = {
    "AED": 200,
    "AUD": 50,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1_500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17_500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1_000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1_000,
    "USD": 50,
}
# Elsewhere the smallest amount depends on the account's settlement currency: Stripe refuses what is less.
_MINIMUM_ELSEWHERE: Final = 1
# Digits of the largest amount.
_MAXIMUM: Final[Mapping[str, int]] = {"IDR": 10**12 - 1, "INR": 10**9 - 1}
_MAXIMUM_ELSEWHERE: Final = 10**8 - 1


@dataclass(frozen=True, slots=True)
class _Units:
    """`theirs` of Stripe's units are `ours` ISO minor units; what Stripe takes is a multiple of `step` of its own."""

    ours: int
    theirs: int
    step: int


def _units(currency: str) -> _Units:
    decimals = 0 if currency in _ZERO_DECIMAL else 3 if currency in _THREE_DECIMAL else 2
    step = 100 if currency in _WHOLE_BUT_TWO_DECIMAL else 10 if currency in _THREE_DECIMAL else 1
    difference = decimals - EXPONENTS[currency]
    return _Units(ours=10 ** max(-difference, 0), theirs=10 ** max(difference, 0), step=step)


def to_stripe(amount: int, currency: str) -> int:
    """`amount` minor units in Stripe's units.

    Raises:
        PaymentRejected: Stripe does not take the currency, or cannot express the amount.
    """
    if currency in _NOT_TAKEN or currency not in EXPONENTS:
        raise PaymentRejected(f"Stripe takes no {currency}", currency=currency)
    units = _units(currency)
    converted, rest = divmod(amount * units.theirs, units.ours)
    if rest or converted % units.step:
        raise PaymentRejected(
            f"Stripe cannot express {format_money(amount, currency)}: its last digits must be 0", currency=currency
        )
    return converted


def from_stripe(amount: int, currency: str) -> int:
    """`amount` of Stripe's units in minor units.

    Raises:
        ValueError: Stripe named an amount that it says it does not take; nothing of ours asked for it.
    """
    if currency in _NOT_TAKEN or currency not in EXPONENTS:
        raise ValueError(f"Stripe named an amount in {currency}")
    units = _units(currency)
    converted, rest = divmod(amount * units.ours, units.theirs)
    if rest:
        raise ValueError(f"{amount} of Stripe's units are no whole minor units of {currency}")
    return converted


def check_chargeable(amount: int, currency: str) -> None:
    """Hold an amount against what Stripe lets anybody charge (…/currencies#minimum-and-maximum-charge-amounts).

    Raises:
        PaymentRejected: Stripe cannot express the amount, or it is too small or too large.
    """
    converted, step = to_stripe(amount, currency), _units(currency).step
    smallest = max(_MINIMUM.get(currency, _MINIMUM_ELSEWHERE), step)
    largest = _MAXIMUM.get(currency, _MAXIMUM_ELSEWHERE) // step * step
    if converted < smallest:
        least = format_money(from_stripe(smallest, currency), currency)
        raise PaymentRejected(f"Stripe charges {least} at least", currency=currency)
    if converted > largest:
        most = format_money(from_stripe(largest, currency), currency)
        raise PaymentRejected(f"Stripe charges {most} at most", currency=currency)
