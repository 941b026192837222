"""How many calls of Stripe a second: each waits for its moment, within bounds, instead of being answered 429."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from services.payment.stripe.errors import StripeBusy

_BURST: Final = 0.1
"""Seconds' worth of calls that may go out at once after a pause: Stripe counts by the second, so that no second has
more than a tenth above the rate."""


class Pace:
    """Lets calls go at a steady rate, in the order in which they come (GCRA, as `domain.rate_limits` has it).

    Args:
        rate: calls of the account per second; None lets every call go at once.
        monotonic: the clock, seconds.
    """

    def __init__(self, rate: float | None, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._copies = 1
        self._full_at = 0.0
        """When nothing of the burst is used any more."""

    def divide(self, copies: int) -> None:
        """Keep to this process's part of the rate: so many copies of the service ask the account."""
        self._copies = max(1, copies)

    @property
    def rate(self) -> float | None:
        """Calls per second of this process; None for no limit."""
        return None if self._rate is None else self._rate / self._copies

    async def wait(self, longest: float) -> None:
        """Return when the next call may go; its moment is taken then, whatever becomes of the call.

        Args:
            longest: seconds that the caller can wait.

        Raises:
            StripeBusy: it would be later than that. No moment is taken.
        """
        rate = self.rate
        if rate is None:
            return
        delay = self._take(rate, longest=longest)
        if delay > 0:
            await asyncio.sleep(delay)

    def _take(self, rate: float, *, longest: float) -> float:
        now = self._monotonic()
        full_at = max(self._full_at, now) + 1 / rate
        delay = full_at - now - max(_BURST, 1 / rate)
        if delay > max(longest, 0.0):
            raise StripeBusy(f"the next call of Stripe may go in {delay:.1f} s: {rate:g} a second are allowed")
        self._full_at = full_at
        return delay
