"""The account's webhook endpoint: whether it is as the service needs it, and how it becomes so.

It has to be at our URL, enabled, get the events that are handled and no others, and send them in the API version that
the SDK pins. Stripe never changes the version of an endpoint and shows its signing secret once
(https://docs.stripe.com/webhooks/versioning): another version is another endpoint, with another secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import stripe

from runtime.health import NotSetUp
from services.payment.stripe.client import StripeClient
from services.payment.stripe.errors import StripeKeySpent, StripePermissionMissing, StripeUnavailable
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.stripe.model import WebhookEndpoint

_KEYS: Final = 20
"""How many idempotency keys are tried; Stripe knows a spent one for a day."""
_SET_UP: Final = "run `ordersaga setup stripe`"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSetUp:
    """What was done.

    Attributes:
        lines: what was done and what is left to do, in words; never empty.
        secret: the signing secret of an endpoint that was made.
    """

    lines: Sequence[str]
    secret: str | None = field(repr=False)


async def find_problem(client: StripeClient, url: str) -> str | None:
    """What is wrong with the account's webhook endpoint at this URL, in words, with what to do about it.

    An endpoint that is not there at all is `NotSetUp`.
    """
    try:
        with _permission("read"):
            there = await _endpoints_at(client, url)
    except StripeUnavailable as error:
        return f"cannot be asked: {error}"
    if not there:
        return NotSetUp(f"Stripe has no webhook endpoint at {url}; {_SET_UP}")
    enabled = [endpoint for endpoint in there if endpoint.is_enabled]
    if not enabled:
        ids = ", ".join(endpoint.id for endpoint in there)
        return f"the webhook endpoint at {url} is disabled ({ids}), so that no event comes; {_SET_UP}"
    return "; ".join([*_too_many(enabled), *_faults(_current(enabled) or enabled[0])]) or None


async def set_up(client: StripeClient, url: str) -> EndpointSetUp:
    """Have an endpoint of our API version at this URL, enabled, with the handled events.

    Where there is none it is made; others are named, and stay as they are. Repeatable: a second run finds all done, and
    so does one after a run whose answer was lost.

    Raises:
        StripeUnavailable: no usable answer; run it again. `StripePermissionMissing` names the permission.
        StripeRefused: Stripe does not take the URL, or the account has as many endpoints as it may.
    """
    with _permission("write"):
        for number in range(_KEYS):
            there = await _endpoints_at(client, url)
            current = _current(there)
            if current is not None:
                lines = await _mend(client, current)
                return EndpointSetUp(lines=[*lines, *_left_over(there, current)], secret=None)
            try:
                made = await _make(client, url, number)
            except StripeKeySpent:  # asked within a day, and nothing of it is there: the next key asks anew
                continue
            line = f"made the webhook endpoint {made.id} at {url}, for API version {stripe.api_version}"
            return EndpointSetUp(lines=[line, *_left_over(there, made)], secret=made.secret)
    raise StripeUnavailable(f"Stripe: {_KEYS} idempotency keys are spent; run this again in a day")


async def _endpoints_at(client: StripeClient, url: str) -> list[WebhookEndpoint]:
    """Oldest first."""
    return [endpoint for endpoint in await client.list_endpoints() if endpoint.url == url][::-1]


def _current(endpoints: Sequence[WebhookEndpoint]) -> WebhookEndpoint | None:
    """The one of our API version; of several one that is enabled, and then the oldest, whose secret will be in use."""
    current = [endpoint for endpoint in endpoints if endpoint.api_version == stripe.api_version]
    return min(current, key=lambda endpoint: not endpoint.is_enabled, default=None)


async def _make(client: StripeClient, url: str, number: int) -> WebhookEndpoint:
    asked = hashlib.sha256("\n".join([url, stripe.api_version, *HANDLED_EVENT_TYPES]).encode()).hexdigest()
    key = f"webhook-endpoint-{asked}-{number}"
    try:
        return await client.create_endpoint(url=url, key=key)
    except (StripeKeySpent, StripePermissionMissing):
        raise
    except StripeUnavailable:
        # Were it left to the next run, that would find the endpoint, but no secret.
        return await client.create_endpoint(url=url, key=key)


async def _mend(client: StripeClient, endpoint: WebhookEndpoint) -> list[str]:
    lacking, needless = _lacking(endpoint), _needless(endpoint)
    done = [
        *(["enabled"] if not endpoint.is_enabled else []),
        *([f"events added: {', '.join(lacking)}"] if lacking else []),
        *([f"events left out: {', '.join(needless)}"] if needless else []),
    ]
    if not done:
        return [f"the webhook endpoint {endpoint.id} is as it should be; its secret is in Stripe's dashboard alone"]
    await client.update_endpoint(endpoint.id)
    return [f"changed the webhook endpoint {endpoint.id}: {'; '.join(done)}"]


def _left_over(there: Sequence[WebhookEndpoint], current: WebhookEndpoint) -> Iterator[str]:
    for other in there:
        if other.is_enabled and other.id != current.id:
            yield (
                f"{_named(other)} is enabled at this URL, too: disable it in Stripe's dashboard once the payment "
                f"service runs with the signing secret of {current.id}; until then that of {other.id} belongs into "
                "ORDERSAGA_STRIPE_WEBHOOK_SECRET_PREVIOUS"
            )


def _too_many(enabled: Sequence[WebhookEndpoint]) -> Iterator[str]:
    if len(enabled) > 1:
        yield (
            f"{len(enabled)} webhook endpoints are enabled at this URL: {', '.join(map(_named, enabled))}; disable all "
            "in Stripe's dashboard but the one whose signing secret is ORDERSAGA_STRIPE_WEBHOOK_SECRET"
        )


def _faults(endpoint: WebhookEndpoint) -> Iterator[str]:
    if endpoint.api_version != stripe.api_version:
        yield (
            f"the webhook endpoint {_named(endpoint)} does not send API version {stripe.api_version}, which we read, "
            "and Stripe changes no endpoint's version. (1) Let `ordersaga setup stripe` make a new endpoint. (2) Move "
            "ORDERSAGA_STRIPE_WEBHOOK_SECRET to ORDERSAGA_STRIPE_WEBHOOK_SECRET_PREVIOUS, and put the new secret in "
            f"its place. (3) Restart the payment service. (4) Disable {endpoint.id} in Stripe's dashboard"
        )
        return
    if lacking := _lacking(endpoint):
        yield f"the webhook endpoint {endpoint.id} does not get {', '.join(lacking)}; {_SET_UP}"
    if needless := _needless(endpoint):
        yield f"the webhook endpoint {endpoint.id} gets events that nothing handles: {', '.join(needless)}; {_SET_UP}"


def _lacking(endpoint: WebhookEndpoint) -> list[str]:
    if "*" in endpoint.enabled_events:
        return []
    return [name for name in HANDLED_EVENT_TYPES if name not in endpoint.enabled_events]


def _needless(endpoint: WebhookEndpoint) -> list[str]:
    return sorted(endpoint.enabled_events.difference(HANDLED_EVENT_TYPES))


def _named(endpoint: WebhookEndpoint) -> str:
    return f"{endpoint.id} (API version {endpoint.api_version or 'of the account'})"


@contextmanager
def _permission(needed: str) -> Iterator[None]:
    """Says what the key lacks, as Stripe's dashboard calls it."""
    try:
        yield
    except StripePermissionMissing as missing:
        raise StripePermissionMissing(
            f"the key in ORDERSAGA_STRIPE_API_KEY needs the permission Webhook Endpoints: {needed}. {missing}"
        ) from None
