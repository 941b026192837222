"""What the tests of the Stripe double share: its clock, the official SDK pointed at it, an intent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import stripe

from sandbox.stripe.server import StripeDouble

API_KEY = "sk_test_double"
WEBHOOK_SECRET = "whsec_double"


class Clock:
    """Tells the seconds that a test set."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def sdk(double: StripeDouble, *, api_key: str = API_KEY) -> AsyncIterator[stripe.StripeClient]:
    """The official SDK, without retries of its own."""
    http = stripe.AIOHTTPClient(timeout=10)
    try:
        yield stripe.StripeClient(api_key, base_addresses={"api": double.url}, http_client=http, max_network_retries=0)
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


async def create(client: stripe.StripeClient, *, key: str | None = None, **params: Any) -> stripe.PaymentIntent:
    """An intent for 25.99 USD by card, or as the parameters say."""
    wanted = {"amount": 2_599, "currency": "usd", "allowed_payment_method_types": ["card"], **params}
    options: stripe.RequestOptions = {} if key is None else {"idempotency_key": key}
    return await client.v1.payment_intents.create_async(wanted, options)  # type: ignore[arg-type]  # any parameters
