"""Rate limits: which there are, and how a bucket of permits decides (GCRA, the generic cell rate algorithm).

A bucket holds `count` permits at most and gets a new one each ``seconds / count``. All of it is one moment: when it is
full again. https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_WINDOW: Final = 7 * 86_400
"""Seconds."""
MAX_COUNT: Final = 10_000_000
_RATE: Final = re.compile(r"([1-9][0-9]{0,7})/([1-9][0-9]{0,5})")
MICROSECONDS: Final = 1_000_000
"""Of a second."""


class Limit(StrEnum):
    """What is limited; the name is shown to clients and is that of the setting."""

    REQUESTS = "requests"
    """Of one address that come with a token, or may, before it is looked at."""
    SIGN_UPS = "sign-ups"
    """Accounts from one address."""
    LOGINS = "logins"
    """Attempts from one address, for whichever accounts."""
    LOGINS_HERE = "logins-here"
    """Attempts for one account from one address."""
    LOGINS_ELSEWHERE = "logins-elsewhere"
    """Attempts for one account from all addresses together that it was not logged in from lately."""
    REFRESHES = "refreshes"
    """Refreshed and revoked tokens of one address."""
    GUEST_ORDERS = "guest-orders"
    """New orders without an account from one address."""
    GUEST_ORDERS_FOR = "guest-orders-for"
    """New orders without an account in the name of one e-mail address, which gets a mail about each."""
    GUEST_LINKS = "guest-links"
    """Lost links to orders asked for from one address."""
    GUEST_LINKS_FOR = "guest-links-for"
    """Lost links to orders of one e-mail address, which gets a mail for each."""
    ORDERS = "orders"
    """New orders of one account."""
    BACK_END_ORDERS = "back-end-orders"
    """New orders of an admin's account, with which the shop's back end places those of its customers."""
    CANCELS = "cancels"
    """Requests of one account to cancel."""
    REFUNDS = "refunds"
    """Refunds asked for by one account."""
    READS = "reads"
    """Of one account; without one, of one address."""
    WRITES = "writes"
    """Everything else of one account that changes something; without one, of one address."""
    WEBHOOKS = "webhooks"
    """Events from one address."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: at once, and again as they come back one by one."""

    count: int
    seconds: int

    def __post_init__(self) -> None:
        if not (1 <= self.count <= MAX_COUNT and 1 <= self.seconds <= LONGEST_WINDOW):
            raise ValueError(f"a rate is at most {MAX_COUNT} in at most {LONGEST_WINDOW} seconds, and not {self}")

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}"

    @property
    def spacing(self) -> int:
        """Microseconds from one new permit to the next."""
        return max(1, self.seconds * MICROSECONDS // self.count)

    @property
    def capacity(self) -> int:
        """Microseconds that an empty bucket takes to be full."""
        return self.spacing * self.count


Rates = Mapping[Limit, Rate]
"""A limit that is not named is none."""

DEFAULT_RATES: Final[Rates] = {
    Limit.REQUESTS: Rate(1_200, 60),
    Limit.SIGN_UPS: Rate(20, 3_600),
    Limit.LOGINS: Rate(60, 300),
    Limit.LOGINS_HERE: Rate(10, 300),
    Limit.LOGINS_ELSEWHERE: Rate(100, 3_600),
    Limit.REFRESHES: Rate(300, 300),
    Limit.GUEST_ORDERS: Rate(10, 3_600),
    Limit.GUEST_ORDERS_FOR: Rate(10, 86_400),
    Limit.GUEST_LINKS: Rate(10, 3_600),
    Limit.GUEST_LINKS_FOR: Rate(5, 3_600),
    Limit.ORDERS: Rate(30, 60),
    Limit.BACK_END_ORDERS: Rate(1_200, 60),
    Limit.CANCELS: Rate(30, 60),
    Limit.REFUNDS: Rate(60, 60),
    Limit.READS: Rate(600, 60),
    Limit.WRITES: Rate(300, 60),
    Limit.WEBHOOKS: Rate(6_000, 60),
}


def parse_rates(changes: Mapping[str, str | None]) -> Rates:
    """The default rates with changes: ``{"orders": "30/60"}``, None for no limit.

    Raises:
        ValueError: naming what is no limit, or no rate.
    """
    rates = dict(DEFAULT_RATES)
    for name, text in changes.items():
        try:
            limit = Limit(name)
        except ValueError:
            raise ValueError(f"{name} is no limit; there are {', '.join(Limit)}") from None
        if text is None:
            rates.pop(limit, None)
        else:
            rates[limit] = _parse_rate(limit, text)
    return rates


def widened(factor: int) -> Mapping[str, str]:
    """The default rates times so many, as a setting."""
    return {limit.value: str(Rate(rate.count * factor, rate.seconds)) for limit, rate in DEFAULT_RATES.items()}


def _parse_rate(limit: Limit, text: str) -> Rate:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{limit}: must be count/seconds, for example 30/60, or null for no limit, and not {text!r}")
    try:
        return Rate(int(match[1]), int(match[2]))
    except ValueError as error:
        raise ValueError(f"{limit}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of asking a bucket for permits.

    Attributes:
        granted: how many it gave; 0 when it had none.
        full_at: when it is full again, microseconds of the clock that it was asked by.
    """

    granted: int
    full_at: int


def take(rate: Rate, *, full_at: int, now: int, wanted: int = 1) -> Taken:
    """Take as many permits as there are, `wanted` at most.

    Args:
        rate: of the bucket.
        full_at: when the bucket is full, microseconds; any past moment if it is.
        now: on the same clock.
        wanted: permits.
    """
    base = max(full_at, now)
    granted = min(wanted, available(rate, full_at=base, now=now))
    return Taken(granted=granted, full_at=base + granted * rate.spacing)


def available(rate: Rate, *, full_at: int, now: int) -> int:
    """Permits that are in the bucket now."""
    return max(0, (rate.capacity - max(full_at - now, 0)) // rate.spacing)


def wait_for_one(rate: Rate, *, full_at: int, now: int) -> int:
    """Microseconds until there is a permit."""
    return max(0, full_at - now - rate.capacity + rate.spacing)
