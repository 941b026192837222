"""Look-ups and lists of an account's objects."""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from sandbox.stripe.commands import ListPage, Retrieve
from sandbox.stripe.endpoints import WebhookEndpoint
from sandbox.stripe.events import Event
from sandbox.stripe.ledger.intents import IntentLedger
from sandbox.stripe.ledger.journal import Journal
from sandbox.stripe.objects import Charge
from sandbox.stripe.resources import AnyResource
from sandbox.stripe.store import Page, Store

_EVENTS_ARE_LISTED = 30 * 24 * 3600


class Reader:
    """Answers look-ups; an event shows how many of its webhooks are outstanding, an endpoint no secret."""

    def __init__(self, store: Store, journal: Journal, intents: IntentLedger) -> None:
        self._store = store
        self._journal = journal
        self._intents = intents

    def retrieve(self, kind: type[AnyResource], object_id: str, command: Retrieve) -> AnyResource:
        """One object."""
        if command.client_secret is not None:
            self._intents.get(object_id, client_secret=command.client_secret)
        return self._shown(self._journal.get(kind, object_id))

    def page(self, kind: type[AnyResource], command: ListPage) -> Page[AnyResource]:
        """One page of a list; events are listed for 30 days."""
        for param, cursor in (("starting_after", command.starting_after), ("ending_before", command.ending_before)):
            if cursor is not None:
                self._journal.get(kind, cursor, param=param)
        keys, created_from = command.list_keys, command.created_from
        if command.charge is not None:
            # A refund's or dispute's charge is the only one of its intent that succeeded.
            keys = (self._journal.get(Charge, command.charge, param="charge").payment_intent,)
        if kind is Event:
            created_from = max(created_from or 0, self._journal.now() - _EVENTS_ARE_LISTED)
        page = self._store.page(
            kind,
            limit=command.limit,
            list_keys=keys,
            created_from=created_from,
            created_to=command.created_to,
            after=command.starting_after,
            before=command.ending_before,
        )
        return Page(items=[self._shown(item) for item in page.items], has_more=page.has_more)

    def _shown(self, resource: AnyResource) -> AnyResource:
        if isinstance(resource, WebhookEndpoint):
            return replace(resource, secret=UNSET)
        if isinstance(resource, Event):
            return replace(resource, pending_webhooks=self._store.count_deliveries(resource.id))
        return resource
