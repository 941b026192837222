"""Stripe's API, as far as the service needs it, behind typed methods; nothing of the SDK leaves this room.

The SDK pins the API version. It never retries by itself: who calls us does, and knows the idempotency keys.
Look-ups list and never search, because Stripe's search lags.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar, cast

import aiohttp
import stripe
import structlog

from runtime.settings import Settings
from services.payment.stripe.amounts import to_stripe
from services.payment.stripe.errors import (
    StripeBusy,
    StripeKeySpent,
    StripeLookupRefused,
    StripeRefused,
    StripeUnavailable,
    UnreadableEvent,
)
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.stripe.events import convert_event
from services.payment.stripe.gate import StripeGate
from services.payment.stripe.gated_http import GatedHttp
from services.payment.stripe.measured_http import MeasuredHttp
from services.payment.stripe.messages import (
    is_replayed,
    to_dispute,
    to_endpoint,
    to_error,
    to_failed_charge,
    to_intent,
    to_refund,
)
from services.payment.stripe.model import (
    FailedCharge,
    Intent,
    StripeDispute,
    StripeEvent,
    StripeRefund,
    WebhookEndpoint,
)
from services.payment.stripe.traced_http import TracedHttpClient

log = structlog.stdlib.get_logger(__name__)

Answer = TypeVar("Answer")
Item = TypeVar("Item", bound=stripe.StripeObject)

_PAGE: Final = 100
_EVENTS_PER_CALL: Final = 4
"""Events in progress for each that may ask Stripe: one more waits for its turn at the gate, and two find out that they
need no Stripe, such as those of payments that are known to be paid, or that they have to come again later."""


@asynccontextmanager
async def open_stripe(
    settings: Settings, *, http_client: stripe.HTTPClient | None = None
) -> AsyncIterator[StripeClient]:
    """The account that the settings name, as long as the context is open.

    Args:
        settings: of the process.
        http_client: as `StripeClient` has it; whoever gives it closes it.

    Raises:
        SettingsError: there is no key.
    """
    client = StripeClient(
        api_key=settings.required("stripe_api_key"),
        gate=StripeGate(
            rate=settings.stripe_calls_per_second,
            calls=settings.stripe_calls_in_progress,
            events=max(1, settings.provider_events_in_progress // _EVENTS_PER_CALL),
        ),
        api_base=settings.stripe_api_base,
        timeout=settings.stripe_timeout,
        payment_method_types=settings.stripe_payment_method_types,
        app=settings.stripe_app,
        http_client=http_client,
    )
    try:
        yield client
    finally:
        if http_client is None:
            await client.close()


class StripeClient:
    """One Stripe account; amounts in minor units of an ISO 4217 code, in and out.

    Args:
        api_key: secret key; its mode must be that of the webhook events.
        gate: says when it may be asked.
        api_base: base URL of the API; Stripe's own when None.
        timeout: limit of one call, seconds.
        payment_method_types: what customers are offered. Without explicit types a confirm may want a return URL.
        app: our mark in the metadata of all that we make there; what bears another one is not ours.
        http_client: what sends the requests, with a limit of its own instead of `timeout`; aiohttp by default.

    Every method raises `StripeUnavailable` when there is no usable answer, `StripeRefused` for what Stripe says is
    wrong with the request, and `PaymentNeedsStripe` to whoever wants to fail rather than ask (`gate.asking_as`).
    """

    def __init__(
        self,
        *,
        api_key: str,
        gate: StripeGate,
        api_base: str | None,
        timeout: float,
        payment_method_types: Sequence[str],
        app: str,
        http_client: stripe.HTTPClient | None = None,
    ) -> None:
        # aiohttp, because a call over the SDK's other client, httpx, takes twice the CPU (docs/decisions/0010).
        self.http = http_client or TracedHttpClient(timeout=aiohttp.ClientTimeout(total=timeout))
        self._api = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base is not None else None,
            http_client=GatedHttp(MeasuredHttp(self.http), gate),
            max_network_retries=0,
        ).v1
        self.gate = gate
        self._payment_method_types = list(payment_method_types)
        self._app = app
        self.livemode = api_key.partition("_")[2].startswith("live_")
        log.info("stripe.configured", api_version=stripe.api_version, livemode=self.livemode)

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped

    async def find_problem(self) -> str | None:
        """Why it cannot be used, in words: it is away, or does not take our key."""
        try:
            await self._api.events.list_async({"limit": 1})
        except StripeBusy:  # others are asking it, and how that goes is measured
            return None
        except stripe.AuthenticationError:
            return "Stripe refuses our key; see ORDERSAGA_STRIPE_API_KEY"
        except stripe.PermissionError as error:
            return f"the key in ORDERSAGA_STRIPE_API_KEY lacks a permission: {error.user_message}"
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
            return f"Stripe does not answer: {error or type(error).__name__}"
        return None

    async def create_intent(self, *, payment_id: str, order_id: str, amount: int, currency: str, key: str) -> Intent:
        """Create an intent, unconfirmed. With the `key` of an earlier call, the intent that this one made."""
        created = await _answer(
            self._api.payment_intents.create_async(
                {
                    "amount": to_stripe(amount, currency),
                    "currency": currency.lower(),
                    "allowed_payment_method_types": self._payment_method_types,
                    "metadata": {"app": self._app, "order_id": order_id, "payment_id": payment_id},
                },
                {"idempotency_key": key},
            )
        )
        return await self._current(created)

    async def find_intent(self, *, payment_id: str, created_from: datetime, created_until: datetime) -> Intent | None:
        """The intent that was made for a payment between two moments of Stripe's clock, if there is one.

        Stripe lists all of the account's, the newest first; so the list is bounded at both ends.
        """
        first, last = int(created_from.timestamp()), math.ceil(created_until.timestamp())
        page = await _read(
            self._api.payment_intents.list_async({"created": {"gte": first, "lte": last}, "limit": _PAGE})
        )
        async for intent in _all(page):
            if intent.metadata.to_dict().get("payment_id") == payment_id:
                return to_intent(intent)
        return None

    async def get_intent(self, intent_id: str) -> Intent:
        """The intent as it is now."""
        return to_intent(await _read(self._api.payment_intents.retrieve_async(intent_id)))

    async def get_client_secret(self, intent_id: str) -> str:
        """The intent's client secret, or nothing when nobody can pay with it any more. Do not keep or log it."""
        intent = await _read(self._api.payment_intents.retrieve_async(intent_id))
        return "" if to_intent(intent).status.is_final else intent.client_secret or ""

    async def confirm_intent(self, intent_id: str, *, payment_method: str, key: str) -> Intent:
        """Try to take the money with this payment method.

        Raises:
            StripeDeclined: the charge failed.
            StripeUnexpectedState: the intent cannot be confirmed any more.
        """
        confirmed = await _answer(
            self._api.payment_intents.confirm_async(
                intent_id, {"payment_method": payment_method}, {"idempotency_key": key}
            )
        )
        return await self._current(confirmed)

    async def cancel_intent(self, intent_id: str, *, key: str) -> Intent:
        """End the intent for good.

        Raises:
            StripeUnexpectedState: it succeeded or was cancelled before.
        """
        return await self._current(
            await _answer(self._api.payment_intents.cancel_async(intent_id, {}, {"idempotency_key": key}))
        )

    async def list_failed_charges(self, intent_id: str) -> list[FailedCharge]:
        """Every charge of the intent that failed."""
        page = await _read(self._api.charges.list_async({"payment_intent": intent_id, "limit": _PAGE}))
        return [to_failed_charge(charge) async for charge in _all(page) if charge.status == "failed"]

    async def create_refund(
        self, *, refund_id: str, order_id: str, intent_id: str, amount: int, currency: str, key: str
    ) -> StripeRefund:
        """Give `amount` of the intent's money back. With the `key` of an earlier call, the refund that this one made.

        Raises:
            StripeChargeDisputed: a dispute holds the money, or took it.
        """
        refund = await _answer(
            self._api.refunds.create_async(
                {
                    "payment_intent": intent_id,
                    "amount": to_stripe(amount, currency),
                    "metadata": {"app": self._app, "order_id": order_id, "refund_id": refund_id},
                },
                {"idempotency_key": key},
            )
        )
        if is_replayed(refund):
            refund = await _read(self._api.refunds.retrieve_async(refund.id))
        return to_refund(refund, app=self._app)

    async def list_refunds(self, intent_id: str) -> list[StripeRefund]:
        """Every refund of the intent, whoever made it."""
        page = await _read(self._api.refunds.list_async({"payment_intent": intent_id, "limit": _PAGE}))
        return [to_refund(refund, app=self._app) async for refund in _all(page)]

    async def list_disputes(self, intent_id: str) -> list[StripeDispute]:
        """Every dispute of the intent's charges."""
        page = await _read(self._api.disputes.list_async({"payment_intent": intent_id, "limit": _PAGE}))
        return [to_dispute(dispute) async for dispute in _all(page)]

    async def list_events(
        self, *, created_from: datetime, created_to: datetime | None = None
    ) -> AsyncIterator[StripeEvent]:
        """The handled events from a time on, up to another, newest first; Stripe lists those of the last 30 days."""
        created: stripe.params.EventListParamsCreated = {"gte": int(created_from.timestamp())}
        if created_to is not None:
            created["lte"] = int(created_to.timestamp())
        page = await _read(
            self._api.events.list_async({"created": created, "types": list(HANDLED_EVENT_TYPES), "limit": _PAGE})
        )
        async for listed in _all(page):
            try:
                yield convert_event(listed.to_dict(for_json=True), app=self._app)
            except UnreadableEvent as error:
                log.error("event.unreadable", event_id=listed.id, problem=str(error))

    async def list_endpoints(self) -> list[WebhookEndpoint]:
        """Every webhook endpoint of the account, whoever made it, newest first."""
        page = await _read(self._api.webhook_endpoints.list_async({"limit": _PAGE}))
        return [to_endpoint(endpoint) async for endpoint in _all(page)]

    async def create_endpoint(self, *, url: str, key: str) -> WebhookEndpoint:
        """Make a webhook endpoint that gets the handled events in our API version, with its secret.

        With the `key` of an earlier call, the endpoint that this one made.

        Raises:
            StripeKeySpent: also when that endpoint is not there any more.
        """
        params = {
            "url": url,
            "enabled_events": list(HANDLED_EVENT_TYPES),
            "api_version": stripe.api_version,
            "metadata": {"app": self._app},
        }
        created = await _answer(
            self._api.webhook_endpoints.create_async(
                cast("stripe.params.WebhookEndpointCreateParams", params), {"idempotency_key": key}
            )
        )
        if is_replayed(created):
            try:
                await _answer(self._api.webhook_endpoints.retrieve_async(created.id))
            except StripeRefused as refused:
                raise StripeKeySpent(f"Stripe: what this key made is gone: {refused}") from None
        return to_endpoint(created)

    async def update_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        """Have a webhook endpoint get the handled events and no others, and enable it."""
        params = {"enabled_events": list(HANDLED_EVENT_TYPES), "disabled": False}
        return to_endpoint(
            await _answer(
                self._api.webhook_endpoints.update_async(
                    endpoint_id, cast("stripe.params.WebhookEndpointUpdateParams", params)
                )
            )
        )

    async def _current(self, answered: stripe.PaymentIntent) -> Intent:
        """An answer that Stripe stored under the key shows the intent as it was then: read it again."""
        if is_replayed(answered):
            return await self.get_intent(answered.id)
        return to_intent(answered)


async def _answer(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except stripe.StripeError as error:
        raise to_error(error) from None
    except (aiohttp.ClientError, TimeoutError) as error:  # the SDK lets through what breaks in an answer's body
        raise StripeUnavailable(f"Stripe: {type(error).__name__}: {error}") from None


async def _read(call: Awaitable[Answer]) -> Answer:
    """The answer to a look-up of ours. No order fails for one that Stripe refuses: it is our account that is wrong.

    Raises:
        StripeLookupRefused: it is refused.
        StripeUnavailable: repeat.
    """
    try:
        return await _answer(call)
    except StripeRefused as refused:
        raise StripeLookupRefused(f"Stripe: {refused}") from None


async def _all(page: stripe.ListObject[Item]) -> AsyncIterator[Item]:
    """The items of this page and of those that follow, each of which is a look-up of its own."""
    items = page.auto_paging_iter()
    while (item := await _read(anext(items, None))) is not None:
        yield item
