"""An account's webhook endpoints as the tests of the payment service want them."""

from __future__ import annotations

from typing import Any, Final

import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.in_process import InProcessClient
from services.payment.stripe.client import StripeClient
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.stripe.gate import StripeGate
from tests.support.stripe_double import API_KEY, in_process_sdk

URL: Final = "https://shop.example.test/webhooks/stripe"
FORMER_VERSION: Final = "2025-03-31.basil"
HANDLED: Final = list(HANDLED_EVENT_TYPES)


def client_of(http: InProcessClient, *, api_key: str = API_KEY) -> StripeClient:
    """The service's client of an account in this process."""
    return StripeClient(
        api_key=api_key,
        gate=StripeGate(rate=None, calls=2, events=1),
        api_base=None,
        timeout=5,
        payment_method_types=["card"],
        app="ordersaga",
        http_client=http,
    )


async def make(account: StripeAccount, **params: Any) -> stripe.WebhookEndpoint:
    """An endpoint as a set-up makes it, but for these parameters."""
    wanted: Any = {"url": URL, "enabled_events": HANDLED, "api_version": stripe.api_version, **params}
    given = {name: value for name, value in wanted.items() if value is not None}
    return await _sdk(account).v1.webhook_endpoints.create_async(given)  # type: ignore[arg-type]  # any parameters


async def disable(account: StripeAccount, endpoint_id: str) -> None:
    """Disable an endpoint."""
    await _sdk(account).v1.webhook_endpoints.update_async(endpoint_id, {"disabled": True})


def _sdk(account: StripeAccount) -> stripe.StripeClient:
    return in_process_sdk(InProcessClient(account))
