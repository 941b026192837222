"""How changes get into the store, with their events, their webhooks, and what is planned to follow."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import stripe

from sandbox.stripe.clock import Clock
from sandbox.stripe.errors import ApiError, missing
from sandbox.stripe.events import Event, EventData, EventRequest
from sandbox.stripe.faults import FaultSwitch
from sandbox.stripe.ledger.endpoints import EndpointLedger
from sandbox.stripe.objects import Charge
from sandbox.stripe.resources import AnyResource, Resource, new_id
from sandbox.stripe.rules.changes import Change, Subject
from sandbox.stripe.store import DebitEnd, Plan, RefundChange, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The object that a call is answered with, unless a decline is the answer; its changes are stored either way."""

    resource: Resource
    error: ApiError | None = None


class Journal:
    """Reads and writes the objects of one account. Writes belong into a transaction of the store.

    Each event goes to those of the `endpoints` that want it. What does not end at once ends by itself `late_after`
    seconds later, or never for None.
    """

    def __init__(
        self, store: Store, *, faults: FaultSwitch, clock: Clock, endpoints: EndpointLedger, late_after: float | None
    ) -> None:
        self._store = store
        self._faults = faults
        self._clock = clock
        self._endpoints = endpoints
        self._late_after = late_after

    def now(self) -> int:
        """The account's time, whole unix seconds."""
        return int(self._clock.now())

    def find(self, kind: type[AnyResource], object_id: str) -> AnyResource | None:
        """An object, if there is one."""
        return self._store.find(kind, object_id)

    def get(self, kind: type[AnyResource], object_id: str, *, param: str | None = None) -> AnyResource:
        """An object.

        Raises:
            ApiError: 404 when there is none, 400 when a parameter named it.
        """
        resource = self._store.find(kind, object_id)
        if resource is None:
            raise missing(kind, object_id, param=param)
        return resource

    def all_of(self, kind: type[AnyResource], charge: Charge) -> list[AnyResource]:
        """The refunds or disputes of a charge, newest first."""
        # Of all the charges of an intent only one can have refunds or disputes: the one that succeeded.
        return self._store.page(kind, limit=10_000, list_keys=(charge.payment_intent,)).items

    def apply(self, change: Change[Subject], cause: EventRequest) -> Done:
        """Store a change, and its events with their webhooks."""
        for resource in change.also:
            self._store.save(resource)
        self._store.save(change.subject)
        now = self._clock.now()
        for event_type, subject in change.events:
            wanting = self._endpoints.wanting(event_type)
            event = Event(
                id=new_id(Event.prefix),
                created=int(now),
                type=event_type,
                api_version=stripe.api_version,
                data=EventData(object=msgspec.Raw(msgspec.json.encode(subject))),
                request=cause,
                pending_webhooks=len(wanting),
            )
            self._store.save(event)
            for endpoint in wanting:
                for due_at in self._faults.due_times(now):
                    self._store.add_delivery(event.id, endpoint_id=endpoint.id, since=now, due_at=due_at)
        return Done(resource=change.subject, error=change.error)

    def plan(self, subject_id: str, change: RefundChange | DebitEnd, *, least_seconds: float = 0.0) -> None:
        """Note what becomes of an object by itself, after `least_seconds` at least."""
        if self._late_after is not None:
            due_at = self._clock.now() + max(self._late_after, least_seconds)
            self._store.plan(Plan(subject_id=subject_id, change=change, due_at=due_at))

    def drop_plan(self, subject_id: str) -> None:
        """Leave an object as it is."""
        self._store.drop_plan(subject_id)
