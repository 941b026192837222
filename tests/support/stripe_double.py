"""What the tests of the Stripe double share: its clock, the official SDK pointed at it, an account with what it did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
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


class Account:
    """A shop's account at the double: its SDK client, the double's switches and its clock."""

    def __init__(
        self, double: StripeDouble, client: stripe.StripeClient, http: httpx.AsyncClient, clock: Clock
    ) -> None:
        self.double = double
        self.client = client
        self.http = http
        self.clock = clock

    @classmethod
    @asynccontextmanager
    async def of(cls, double: StripeDouble, clock: Clock) -> AsyncIterator[Self]:
        """The account of a double that runs."""
        async with sdk(double) as client, httpx.AsyncClient(base_url=double.url) as http:
            yield cls(double, client, http, clock)

    def advance(self, seconds: float) -> None:
        """Move the clock; what is due by then has happened on return."""
        self.clock.now += seconds
        self.double.wake()

    async def switch(self, path: str, **wish: Any) -> Any:
        """Use a switch under ``/_sandbox``; returns its JSON."""
        answer = await self.http.post(f"/_sandbox/{path}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def paid(self, card: str, **params: Any) -> stripe.PaymentIntent:
        """An intent that is paid with this test card."""
        return await create(self.client, payment_method=card, confirm=True, **params)

    async def refund(self, paid: stripe.PaymentIntent, **params: Any) -> stripe.Refund:
        """Refund the intent, or a part of it when an amount is given."""
        return await self.client.v1.refunds.create_async({"payment_intent": paid.id, **params})  # type: ignore[arg-type]  # any parameters

    async def charge(self, paid: stripe.PaymentIntent) -> stripe.Charge:
        """The charge of a paid intent as it is now."""
        return await self.client.v1.charges.retrieve_async(str(paid.latest_charge))

    async def events_of(self, resource: stripe.Refund | stripe.Dispute) -> list[str]:
        """The types of the events that hold this object, oldest first."""
        events = (await self.client.v1.events.list_async({"limit": 100})).data
        return [event.type for event in reversed(events) if event.data.object["id"] == resource.id]
