"""Stripe's API as it is measured: how long each call takes, how it ends, and how far Stripe's clock is from ours."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

import stripe

from runtime.clock import Clock, utc_now
from runtime.metrics import CLOCK_SKEW_SECONDS, STRIPE_SECONDS

_OBJECT: Final = re.compile(r"^(/v1/[^/]+)/[^/]+")
"""Behind its resource stands an object's id."""
_HALF_A_SECOND: Final = 0.5
"""The header `Date` has whole seconds, and is cut off."""


class MeasuredHttp(stripe.HTTPClient):
    """Sends each request through another client, and notes it.

    Args:
        real: sends the requests; it is not closed from here.
        clock: ours, which Stripe's is compared with.
    """

    name = "measured"

    def __init__(self, real: stripe.HTTPClient, *, clock: Clock = utc_now) -> None:
        super().__init__()
        self._real = real
        self._clock = clock

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[Any, int, Any]:
        """As the other client answers it."""
        operation, began, outcome = _operation(method, url), perf_counter(), "unanswered"
        try:
            body, status, answered = await self._real.request_async(method, url, headers, post_data)
            outcome = _outcome(status)
            self._compare_clocks(answered)
            return body, status, answered
        finally:
            STRIPE_SECONDS.labels(operation, outcome).observe(perf_counter() - began)

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Wait between two attempts, when the SDK is set to retry."""
        return self._real.sleep_async(secs)

    def _compare_clocks(self, headers: Mapping[str, str]) -> None:
        """`Date` is when the answer was made: a moment ago, by half a second more or less."""
        try:
            theirs = parsedate_to_datetime(headers["date"]).astimezone(UTC)
        except (KeyError, ValueError):  # a proxy's answer may lack it
            return
        CLOCK_SKEW_SECONDS.labels("stripe").set(_seconds_ahead(self._clock(), theirs))


def _seconds_ahead(ours: datetime, theirs: datetime) -> float:
    return (ours - theirs).total_seconds() - _HALF_A_SECOND


def _operation(method: str, url: str) -> str:
    """Such as ``POST /v1/payment_intents/{id}/confirm``."""
    path = _OBJECT.sub(r"\1/{id}", urlsplit(url).path)
    return f"{method.upper()} {path}"


def _outcome(status: int) -> str:
    if status < 300:
        return "succeeded"
    if status == 402:
        return "declined"
    if status in (409, 429):
        return "busy"
    return "refused" if status < 500 else "failed"
