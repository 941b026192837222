"""Which events are to be delivered to which webhook endpoint and when (https://docs.stripe.com/webhooks).

At least once and in no promised order. Whatever is not answered by 2xx is retried after 1 s, 2 s, 4 s … at most 60 s
apart, for 3 days. What is outstanding lives in the store. How an event gets there is somebody else's: `webhooks` sends
it over HTTP, a test in the same process may hand it over by itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import stripe
import structlog

from runtime.backoff import Backoff
from sandbox.stripe.clock import Clock
from sandbox.stripe.endpoints import EndpointStatus, WebhookEndpoint
from sandbox.stripe.events import Event
from sandbox.stripe.ledger.endpoints import EndpointLedger
from sandbox.stripe.store import Delivery, Store

log = structlog.stdlib.get_logger(__name__)

_BACKOFF = Backoff(first=1.0, longest=60.0)
_GIVE_UP_AFTER = 3 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SignedEvent:
    """A webhook's body, its `Stripe-Signature` header, and the URL that it is for."""

    body: bytes
    signature: str
    url: str


class Deliveries:
    """The outstanding deliveries of one account, each signed with its endpoint's secret."""

    def __init__(self, store: Store, clock: Clock, endpoints: EndpointLedger) -> None:
        self._store = store
        self._clock = clock
        self._endpoints = endpoints

    def due(self, *, limit: int = 1_000) -> list[Delivery]:
        """Those that are due, the one that is due first at first."""
        return self._store.deliveries(due_by=self._clock.now(), limit=limit)

    def outstanding(self, *, limit: int = 1_000) -> list[Delivery]:
        """Those that are due now or later, the one that is due first at first."""
        return self._store.deliveries(limit=limit)

    def is_wanted(self, delivery: Delivery) -> bool:
        """Whether its endpoint is still there and enabled. When it is not, the delivery is attempted no more."""
        endpoint = self._endpoints.find(delivery.endpoint_id)
        return endpoint is not None and endpoint.status is EndpointStatus.ENABLED

    def sign(self, delivery: Delivery) -> SignedEvent:
        """Its webhook, signed now.

        Raises:
            LookupError: there is no such event, or no such endpoint any more.
        """
        event, endpoint = self._store.raw(delivery.event_id), self._endpoints.find(delivery.endpoint_id)
        if event is None:
            raise LookupError(f"no event {delivery.event_id}")
        if endpoint is None or endpoint.secret is msgspec.UNSET:
            raise LookupError(f"no endpoint {delivery.endpoint_id} with a secret")
        body = _rendered(event, endpoint)
        # Not by our clock: the receiver holds the time against its own, which nobody advances with ours.
        signed_at = int(time.time())
        header = stripe.WebhookSignature.generate_signature_header(body.decode(), endpoint.secret, timestamp=signed_at)
        return SignedEvent(body, header, endpoint.url)

    def succeeded(self, delivery: Delivery) -> None:
        """Note that the endpoint took it."""
        self._store.drop_delivery(delivery)

    def dropped(self, delivery: Delivery) -> None:
        """Note that the endpoint does not want it any more."""
        self._store.drop_delivery(delivery)

    def failed(self, delivery: Delivery) -> None:
        """Note that the endpoint did not take it: the next attempt is due after a pause, unless it is given up."""
        now = self._clock.now()
        if now - delivery.since >= _GIVE_UP_AFTER:
            log.error("webhook.given_up", event_id=delivery.event_id, attempts=delivery.attempts + 1)
            self._store.drop_delivery(delivery)
            return
        self._store.postpone_delivery(delivery, due_at=now + _BACKOFF.delay(delivery.attempts + 1))


def _rendered(event: bytes, endpoint: WebhookEndpoint) -> bytes:
    """The event for the endpoint's API version. It is named alone: this double's objects look the same in all."""
    if endpoint.api_version in (None, stripe.api_version):
        return event
    return msgspec.json.encode(
        msgspec.structs.replace(msgspec.json.decode(event, type=Event), api_version=endpoint.api_version)
    )
