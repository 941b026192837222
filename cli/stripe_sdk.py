"""The official Stripe SDK, for commands that look at Stripe with their own eyes and not through the payment service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import stripe


@asynccontextmanager
async def open_stripe(api_key: str, *, api_base: str | None, call_seconds: float) -> AsyncIterator[stripe.StripeClient]:
    """A client, closed at the end; each of its calls may take so many seconds."""
    http = stripe.AIOHTTPClient(timeout=call_seconds)
    try:
        yield stripe.StripeClient(
            api_key, base_addresses={"api": api_base} if api_base else {}, http_client=http, max_network_retries=0
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
