"""Amounts in Stripe's units: its decimals are not ISO's, and what it cannot take is refused before it is asked."""

from __future__ import annotations

import pytest

from domain.money import EXPONENTS, MAX_AMOUNT
from services.payment.stripe.amounts import check_chargeable, from_stripe, to_stripe
from services.payment.stripe.errors import PaymentRejected


@pytest.mark.parametrize(
    ("amount", "currency", "theirs"),
    [
        (1_099, "EUR", 1_099),
        (500, "JPY", 500),
        (7_000, "KRW", 7_000),
        (5, "ISK", 500),
        (12_000, "UGX", 1_200_000),
        (500, "MGA", 5),
        (5_120, "KWD", 5_120),
        (1_050, "HUF", 1_050),
        (80_000, "TWD", 80_000),
        (0, "MGA", 0),
    ],
)
def test_amounts_are_counted_as_stripe_counts_them(amount: int, currency: str, theirs: int) -> None:
    assert to_stripe(amount, currency) == theirs
    assert from_stripe(theirs, currency) == amount


@pytest.mark.parametrize(("amount", "currency"), [(5_124, "KWD"), (1, "BHD"), (505, "MGA"), (1, "MGA"), (99, "TND")])
def test_what_stripe_cannot_express_is_rejected(amount: int, currency: str) -> None:
    with pytest.raises(PaymentRejected, match="cannot express"):
        to_stripe(amount, currency)


@pytest.mark.parametrize("currency", ["IRR", "KPW", "LYD", "IQD", "XXX", "eur"])
def test_currencies_that_stripe_does_not_take_are_rejected(currency: str) -> None:
    with pytest.raises(PaymentRejected, match=f"Stripe takes no {currency}"):
        to_stripe(100, currency)


@pytest.mark.parametrize(("theirs", "currency"), [(550, "ISK"), (1, "UGX"), (100, "XXX")])
def test_an_amount_that_stripe_should_not_name_is_no_amount(theirs: int, currency: str) -> None:
    with pytest.raises(ValueError, match="Stripe"):
        from_stripe(theirs, currency)


def test_every_amount_that_stripe_takes_comes_back_the_same() -> None:
    for currency in EXPONENTS:
        for amount in (0, 1, 7, 100, 999, 1_230, 50_000, MAX_AMOUNT):
            try:
                theirs = to_stripe(amount, currency)
            except PaymentRejected:
                continue
            assert from_stripe(theirs, currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (50, "USD"),
        (30, "GBP"),
        (50, "JPY"),
        (17_500, "HUF"),
        (1, "ISK"),
        (100, "MGA"),
        (10, "KWD"),
        (99_999_999, "EUR"),
        (99_999_999, "JPY"),
        (999_999, "ISK"),
        (99_999_990, "KWD"),
        (9_999_999_900, "MGA"),
        (999_999_999_999, "IDR"),
        (999_999_999, "INR"),
    ],
)
def test_the_smallest_and_largest_amounts_can_be_charged(amount: int, currency: str) -> None:
    check_chargeable(amount, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "message"),
    [
        (49, "USD", "0.50 USD at least"),
        (0, "EUR", "0.50 EUR at least"),
        (29, "GBP", "0.30 GBP at least"),
        (49, "JPY", "50 JPY at least"),
        (0, "ISK", "1 ISK at least"),
        (0, "MGA", "1.00 MGA at least"),
        (0, "KWD", "0.010 KWD at least"),
        (100_000_000, "EUR", "999999.99 EUR at most"),
        (1_000_000, "ISK", "999999 ISK at most"),
        (100_000_000, "KWD", "99999.990 KWD at most"),
        (10_000_000_000, "MGA", "99999999.00 MGA at most"),
        (10**12, "IDR", "9999999999.99 IDR at most"),
    ],
)
def test_amounts_beyond_stripes_limits_are_rejected_with_the_limit(amount: int, currency: str, message: str) -> None:
    with pytest.raises(PaymentRejected, match=message.replace(".", r"\.")):
        check_chargeable(amount, currency)
