"""What the tests of the Stripe double share: an account, the official SDK in front of it, a merchant who has both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.clock import Clock
from sandbox.stripe.in_process import InProcessClient
from sandbox.stripe.server import StripeDouble
from sandbox.stripe.store import Store

API_KEY = "sk_test_double"
WEBHOOK_SECRET = "whsec_double"
START: Final = 1_900_000_000.0


def open_account(*, folder: Path | None = None, clock: Clock | None = None, **settings: Any) -> StripeAccount:
    """A Stripe account, on disk when there is a folder; its clock stands still from START on unless one is given."""
    return StripeAccount(
        api_key=API_KEY,
        webhook_secret=WEBHOOK_SECRET,
        store=Store(folder),
        clock=clock or Clock(start=START),
        **settings,
    )


@asynccontextmanager
async def sdk(double: StripeDouble, *, api_key: str = API_KEY) -> AsyncIterator[stripe.StripeClient]:
    """The official SDK, without retries of its own."""
    http = stripe.AIOHTTPClient(timeout=10)
    try:
        yield stripe.StripeClient(api_key, base_addresses={"api": double.url}, http_client=http, max_network_retries=0)
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


def in_process_sdk(client: InProcessClient, *, api_key: str = API_KEY) -> stripe.StripeClient:
    """The official SDK in the account's own process, without retries of its own."""
    return stripe.StripeClient(api_key, http_client=client, max_network_retries=0)


async def create(client: stripe.StripeClient, *, key: str | None = None, **params: Any) -> stripe.PaymentIntent:
    """An intent for 25.99 USD by card, or as the parameters say."""
    wanted = {"amount": 2_599, "currency": "usd", "allowed_payment_method_types": ["card"], **params}
    options: stripe.RequestOptions = {} if key is None else {"idempotency_key": key}
    return await client.v1.payment_intents.create_async(wanted, options)  # type: ignore[arg-type]  # any parameters


class Merchant:
    """Who has an account at the double: its SDK client and the account's switches."""

    def __init__(self, double: StripeDouble, client: stripe.StripeClient, http: httpx.AsyncClient) -> None:
        self.double = double
        self.account = double.account
        self.client = client
        self.http = http

    @classmethod
    @asynccontextmanager
    async def of(cls, double: StripeDouble) -> AsyncIterator[Self]:
        """The merchant whose account is served."""
        async with sdk(double) as client, httpx.AsyncClient(base_url=double.url) as http:
            yield cls(double, client, http)

    def advance(self, seconds: float) -> None:
        """Move the account's clock."""
        self.account.clock.advance(seconds)

    async def switch(self, path: str, **body: Any) -> Any:
        """Use a switch under ``/_sandbox``; returns its JSON."""
        answer = await self.http.post(f"/_sandbox/{path}", json=body)
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


StartMerchant = Callable[..., AbstractAsyncContextManager[Merchant]]
"""Opens an account with these settings and serves it."""


def merchant_starter(folder: Path, clock: Clock) -> StartMerchant:
    """Starts a double on the same folder and clock each time."""

    @asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[Merchant]:
        with open_account(folder=folder, clock=clock, **settings) as account:
            async with StripeDouble(account) as double, Merchant.of(double) as merchant:
                yield merchant

    return started
