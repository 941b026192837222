"""Calls of Stripe's API as they are measured: by what they do, how they end, and what Stripe's clock says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from services.payment.stripe.measured_http import MeasuredHttp
from tests.support.series import grew, samples, value

URL = "https://api.stripe.com"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Answering(stripe.HTTPClient):
    """Stripe answers everything like this, or not at all."""

    name = "answering"

    def __init__(self, status: int | None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._status = status
        self._headers = headers or {}

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        if self._status is None:
            raise stripe.APIConnectionError("no answer")  # type: ignore[no-untyped-call]  # the SDK leaves it
        return b"{}", self._status, self._headers


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("post", "/v1/payment_intents", "POST /v1/payment_intents"),
        ("get", "/v1/payment_intents/pi_3Q", "GET /v1/payment_intents/{id}"),
        ("post", "/v1/payment_intents/pi_3Q/confirm", "POST /v1/payment_intents/{id}/confirm"),
        ("get", "/v1/events?created[gte]=1&limit=100", "GET /v1/events"),
    ],
)
async def test_a_call_is_named_after_what_it_does_and_never_after_an_object(
    method: str, path: str, operation: str
) -> None:
    before = samples()

    await MeasuredHttp(Answering(200)).request_async(method, f"{URL}{path}", {})

    name = "ordersaga_stripe_call_duration_seconds_count"
    assert grew(before, samples(), name, operation=operation, outcome="succeeded") == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(402, "declined"), (400, "refused"), (404, "refused"), (409, "busy"), (429, "busy"), (500, "failed")],
)
async def test_how_it_ends_is_said(status: int, outcome: str) -> None:
    before = samples()

    await MeasuredHttp(Answering(status)).request_async("get", f"{URL}/v1/events", {})

    name = "ordersaga_stripe_call_duration_seconds_count"
    assert grew(before, samples(), name, operation="GET /v1/events", outcome=outcome) == 1


async def test_no_answer_is_counted_and_passed_on() -> None:
    before = samples()

    with pytest.raises(stripe.APIConnectionError):
        await MeasuredHttp(Answering(None)).request_async("get", f"{URL}/v1/events", {})

    name = "ordersaga_stripe_call_duration_seconds_count"
    assert grew(before, samples(), name, operation="GET /v1/events", outcome="unanswered") == 1


async def test_a_clock_that_is_ahead_of_stripes_is_seen() -> None:
    theirs = {"date": "Mon, 30 Nov 2026 11:55:00 GMT"}

    await MeasuredHttp(Answering(200, theirs), clock=lambda: NOON).request_async("get", f"{URL}/v1/events", {})

    assert value("ordersaga_clock_skew_seconds", against="stripe") == pytest.approx(300, abs=1)


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}], ids=["none", "no date"])
async def test_an_answer_without_a_date_is_an_answer(headers: Mapping[str, str]) -> None:
    body, status, _ = await MeasuredHttp(Answering(200, headers)).request_async("get", f"{URL}/v1/events", {})

    assert (body, status) == (b"{}", 200)
