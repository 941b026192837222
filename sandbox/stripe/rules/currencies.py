"""Which currencies and amounts Stripe takes (https://docs.stripe.com/currencies)."""

from __future__ import annotations

from sandbox.stripe.errors import ApiError, invalid

_CODES = """
usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp
cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk
jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn
nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std
szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw
"""
SUPPORTED = frozenset(_CODES.split())

_ZERO_DECIMAL_CODES = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_ZERO_DECIMAL = frozenset(_ZERO_DECIMAL_CODES.split())
_THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
# Zero-decimal, but still counted with two decimals that must be 0.
_WHOLE_UNITS_ONLY = frozenset({"isk", "ugx"})

_MINIMUM = {
    **dict.fromkeys(("usd", "aud", "brl", "cad", "chf", "eur", "inr", "nzd", "sgd"), 50),
    "gbp": 30,
    "jpy": 50,
    "aed": 200,
    "bgn": 100,
    "czk": 1500,
    "dkk": 250,
    "hkd": 400,
    "huf": 17500,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "thb": 1000,
}
_MAXIMUM = {"idr": 999_999_999_999, "inr": 999_999_999}
_MAXIMUM_ELSEWHERE = 99_999_999


def check_currency(code: str) -> str:
    """The code in Stripe's lower case.

    Raises:
        ApiError: 400 when Stripe does not take this currency.
    """
    currency = code.lower()
    if currency not in SUPPORTED:
        raise invalid(
            f"Invalid currency: {code}. Stripe currently supports these currencies: {', '.join(sorted(SUPPORTED))}",
            param="currency",
        )
    return currency


def check_amount(amount: int, currency: str) -> None:
    """Hold an amount against Stripe's limits for its currency.

    Raises:
        ApiError: 400 ``amount_too_small``, ``amount_too_large``, or an amount with digits that must be 0.
    """
    least, most = _MINIMUM.get(currency, 1), _MAXIMUM.get(currency, _MAXIMUM_ELSEWHERE)
    if amount < least:
        raise _out_of_bounds("amount_too_small", f"Amount must be at least {display(least, currency)}")
    if amount > most:
        raise _out_of_bounds("amount_too_large", f"Amount must be no more than {display(most, currency)}")
    step = 100 if currency in _WHOLE_UNITS_ONLY else 10 if currency in _THREE_DECIMAL else 1
    if amount % step:
        raise invalid(f"Invalid amount: amounts in {currency} must be divisible by {step}", param="amount")


def display(amount: int, currency: str) -> str:
    """An amount as a person reads it, such as ``0.50 usd``."""
    decimals = 0 if currency in _ZERO_DECIMAL else 3 if currency in _THREE_DECIMAL else 2
    whole, rest = divmod(amount, 10**decimals)
    return f"{whole:,}.{rest:0{decimals}d} {currency}" if decimals else f"{whole:,} {currency}"


def _out_of_bounds(code: str, message: str) -> ApiError:
    return invalid(message, code=code, param="amount")
