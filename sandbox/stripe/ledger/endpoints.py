"""Webhook endpoints: those of the API, and the one that the account is configured with."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import stripe
from msgspec.structs import replace

from sandbox.stripe.clock import Clock
from sandbox.stripe.commands import CreateEndpoint, UpdateEndpoint
from sandbox.stripe.endpoints import CONFIGURED_ENDPOINT, DeletedEndpoint, WebhookEndpoint
from sandbox.stripe.errors import missing
from sandbox.stripe.rules import endpoints as rules
from sandbox.stripe.store import Store


class EndpointLedger:
    """The endpoints of one account. They are read from the store once, because every event asks for them.

    The configured endpoint, which is there when it has `configured_events`, gets them at no URL at first: whoever holds
    the account takes them from its deliveries. `serve` gives it one, and makes it an object as all others are.
    """

    def __init__(self, store: Store, clock: Clock, *, secret: str, configured_events: Collection[str]) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, WebhookEndpoint] | None = None
        self._configured: WebhookEndpoint | None = None
        if configured_events:
            self._configured = WebhookEndpoint(
                id=CONFIGURED_ENDPOINT,
                created=int(clock.now()),
                url="",
                enabled_events=list(configured_events),
                secret=secret,
                metadata={},
                api_version=stripe.api_version,
            )
        else:
            store.remove(CONFIGURED_ENDPOINT)

    @property
    def has_configured(self) -> bool:
        """Whether the account is configured with an endpoint."""
        return self._configured is not None

    # What events ask for

    def wanting(self, event_type: str) -> list[WebhookEndpoint]:
        """The endpoints that such an event is sent to, oldest first."""
        return [endpoint for endpoint in self._all().values() if endpoint.wants(event_type)]

    def find(self, endpoint_id: str) -> WebhookEndpoint | None:
        """An endpoint, with its secret, if there is one."""
        return self._all().get(endpoint_id)

    # The configured one

    def serve(self, url: str) -> None:
        """Make the configured endpoint an object that gets its events at this URL.

        From one start to the next it keeps its id, and what calls changed of it but its URL and events.

        Raises:
            ValueError: there is none.
        """
        if self._configured is None:
            raise ValueError("the account has no webhook endpoint: give it `webhook_events`")
        configured = replace(self._configured, url=url)
        stored = self._store.find(WebhookEndpoint, CONFIGURED_ENDPOINT)
        if stored is not None:
            configured = replace(
                configured,
                created=stored.created,
                status=stored.status,
                metadata=stored.metadata,
                description=stored.description,
            )
        self._configured = configured
        self._save(configured)

    def begin_anew(self) -> None:
        """Have the configured endpoint alone, after the store forgot everything."""
        self._known = {}
        if self._configured is not None:
            if self._configured.url:
                self._store.save(self._configured)
            self._known[CONFIGURED_ENDPOINT] = self._configured

    def read_again(self) -> None:
        """Read them from the store again, after it was written by other means."""
        self._known = None

    # Calls

    def create(self, command: CreateEndpoint) -> WebhookEndpoint:
        """Make an endpoint; its secret is answered here alone."""
        endpoint = rules.create(command, count=len(self._stored()), at=int(self._clock.now()))
        self._save(endpoint)
        return endpoint

    def update(self, endpoint_id: str, command: UpdateEndpoint) -> WebhookEndpoint:
        """Change an endpoint."""
        changed = rules.update(self._get(endpoint_id), command)
        self._save(changed)
        return replace(changed, secret=msgspec.UNSET)

    def delete(self, endpoint_id: str) -> DeletedEndpoint:
        """Forget an endpoint; what is outstanding for it is never attempted again."""
        self._store.remove(self._get(endpoint_id).id)
        self._known = None
        return DeletedEndpoint(id=endpoint_id)

    # Inside

    def _get(self, endpoint_id: str) -> WebhookEndpoint:
        found = self._store.find(WebhookEndpoint, endpoint_id)
        if found is None:
            raise missing(WebhookEndpoint, endpoint_id)
        return found

    def _save(self, endpoint: WebhookEndpoint) -> None:
        self._store.save(endpoint)
        self._known = None

    def _all(self) -> dict[str, WebhookEndpoint]:
        if self._known is None:
            self._known = {endpoint.id: endpoint for endpoint in self._stored()}
            if self._configured is not None and not self._configured.url:
                self._known[CONFIGURED_ENDPOINT] = self._configured
        return self._known

    def _stored(self) -> list[WebhookEndpoint]:
        return self._store.page(WebhookEndpoint, limit=1_000).items[::-1]
