"""One Stripe account: what it has, what it answers, and what Stripe and banks do to it; nothing here serves anything.

`server` serves it over HTTP, `in_process` hands it the official SDK's calls. Methods that change something have done so
on return, in one transaction. All of them belong on one event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import msgspec

from sandbox.stripe.api.calls import ApiRequest, Calls, Reply
from sandbox.stripe.api.idempotency import IdempotencyKeys
from sandbox.stripe.api.routes import find_route
from sandbox.stripe.clock import Clock
from sandbox.stripe.commands import ConfirmIntent
from sandbox.stripe.deliveries import Deliveries
from sandbox.stripe.disputes import Dispute, DisputeReason, DisputeStatus
from sandbox.stripe.errors import missing, unrecognized_request
from sandbox.stripe.events import EventRequest
from sandbox.stripe.faults import FaultSwitch
from sandbox.stripe.ledger.endpoints import EndpointLedger
from sandbox.stripe.ledger.journal import Done, Journal
from sandbox.stripe.ledger.ledger import Ledger
from sandbox.stripe.objects import Intent, Refund, RefundFailure, RefundStatus
from sandbox.stripe.planned import PlannedChanges
from sandbox.stripe.resources import AnyResource, Resource, new_id
from sandbox.stripe.rules.intents import Authentication
from sandbox.stripe.rules.tokens import DebitFailureCode
from sandbox.stripe.store import Store

API_HOST = "https://api.stripe.com"


class StripeAccount:
    """A Stripe account in this process; its store is closed with the ``with`` block or by `close`.

    Args:
        api_key: the secret key, ``sk_test_…``.
        webhook_secret: what the webhooks of the endpoint that it is configured with are signed with.
        store: what it has; an empty one in memory by default.
        clock: its time; the wall clock's by default.
        webhook_events: the types of event that this endpoint receives, ``*`` for all; by default there is no such
            endpoint. It is no object of the API until `serve_endpoint` says where it is.
        late_after: seconds after which refunds and payments that are late end by themselves; for None they never do.

    Attributes:
        clock: its time. What is due by it has happened once `Clock.advance` returns, but for webhooks.
        faults: what goes wrong with calls and webhooks.
        deliveries: the webhooks that are outstanding.
        base_url: where it is served, and so where customers find the page of their bank.
    """

    def __init__(
        self,
        *,
        api_key: str,
        webhook_secret: str,
        store: Store | None = None,
        clock: Clock | None = None,
        webhook_events: Collection[str] = (),
        late_after: float | None = 5.0,
    ) -> None:
        self.clock = clock or Clock()
        self.faults = FaultSwitch()
        self._store = store or Store()
        self._listeners: list[Callable[[], None]] = []
        self._endpoints = EndpointLedger(
            self._store, self.clock, secret=webhook_secret, configured_events=webhook_events
        )
        self.deliveries = Deliveries(self._store, self.clock, self._endpoints)
        journal = Journal(
            self._store,
            faults=self.faults,
            clock=self.clock,
            endpoints=self._endpoints,
            late_after=late_after,
        )
        self._ledger = Ledger(self._store, journal, self._endpoints, base_url=API_HOST)
        self._planned = PlannedChanges(self._store, self._ledger, self.clock)
        self._calls = Calls(
            api_key=api_key,
            store=self._store,
            ledger=self._ledger,
            keys=IdempotencyKeys(self._store, self.clock),
            faults=self.faults,
            clock=self.clock,
            changed=self._changed,
        )
        self._closing = ExitStack()
        self._closing.callback(self._store.close)
        self._closing.enter_context(self.clock.subscribed(self._clock_moved))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self._closing.close()

    @property
    def base_url(self) -> str:
        return self._ledger.intents.base_url

    @base_url.setter
    def base_url(self, url: str) -> None:
        self._ledger.intents.base_url = url

    @property
    def has_endpoint(self) -> bool:
        """Whether it is configured with a webhook endpoint."""
        return self._endpoints.has_configured

    def serve_endpoint(self, url: str) -> None:
        """Give the webhook endpoint that it is configured with this URL, and make it an object of the API.

        Raises:
            ValueError: it is configured with none.
        """
        self._endpoints.serve(url)

    # The API

    async def answer(self, request: ApiRequest) -> Reply:
        """Answer one call of the API; every refusal is an answer too."""
        self.run_due()
        found = find_route(request.method, request.path)
        if found is None:
            error = unrecognized_request(request.method, request.path)
            return Reply(status=error.status, body=msgspec.json.encode(error.body()), headers={})
        return await self._calls.answer(*found, request)

    # Time

    def run_due(self) -> float | None:
        """Let happen what is due by the clock; returns the seconds until something else is, if anything is planned."""
        if self._planned.run_due():
            self._changed()
        return self._planned.next_pause()

    @contextmanager
    def listening(self, notify: Callable[[], None]) -> Iterator[None]:
        """Call `notify` after whatever may have changed something, while the context is open: webhooks may be due."""
        self._listeners.append(notify)
        try:
            yield
        finally:
            self._listeners.remove(notify)

    # What customers, banks and Stripe do

    def confirm(self, intent_id: str, payment_method: str) -> Intent:
        """Pay with a test payment method, as the customer does in the browser; no fault concerns this.

        Raises:
            ApiError: 402 when the card is declined, 404 when there is no such intent, 400 when it cannot be confirmed.
        """
        command = ConfirmIntent(
            payment_method=payment_method, return_url=f"{self.base_url}/", use_stripe_sdk=True, has_mandate=True
        )
        cause = EventRequest(id=new_id("req", size=14))
        done = self._do(lambda: self._ledger.intents.confirm(intent_id, command, cause))
        if done.error is not None:
            raise done.error
        return self.get(Intent, intent_id)

    def authenticate(self, intent_id: str, outcome: Authentication = Authentication.SUCCEED) -> Intent:
        """End the authentication that an intent waits for, as its customer does at their bank.

        Raises:
            ApiError: 404 when there is no such intent, 400 when it waits for nothing.
        """
        cause = EventRequest(id=new_id("req", size=14), idempotency_key=None)
        self._do(lambda: self._ledger.intents.authenticate(intent_id, outcome, cause))
        return self.get(Intent, intent_id)

    def settle(self, intent_id: str) -> Intent:
        """Let the money of an intent that is processing arrive; it ends by itself no more.

        Raises:
            ApiError: 404 when there is no such intent, 400 when it is not processing.
        """
        self._do(lambda: self._ledger.intents.settle(intent_id, EventRequest()))
        return self.get(Intent, intent_id)

    def fail(self, intent_id: str, code: DebitFailureCode | None = None) -> Intent:
        """Let the money of an intent that is processing not arrive, by default for its payment method's own reason.

        Raises:
            ApiError: as `settle`.
        """
        self._do(lambda: self._ledger.intents.fail(intent_id, code, EventRequest()))
        return self.get(Intent, intent_id)

    def change_refund(self, refund_id: str, status: RefundStatus, *, failure: RefundFailure | None = None) -> Refund:
        """Move a refund on; it changes no more by itself then.

        Raises:
            ApiError: 404 when there is no such refund, 400 when it cannot become that.
        """
        self._do(lambda: self._ledger.refunds.change(refund_id, status, failure, EventRequest()))
        return self.get(Refund, refund_id)

    def open_dispute(
        self,
        charge_id: str,
        *,
        status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE,
        reason: DisputeReason = DisputeReason.FRAUDULENT,
        amount: int | None = None,
    ) -> Dispute:
        """Dispute a charge, by default for what was not refunded of it.

        Raises:
            ApiError: 404 when there is no such charge, 400 when it cannot be disputed.
        """
        done = self._do(lambda: self._ledger.disputes.open(charge_id, status, reason, amount, EventRequest()))
        return self.get(Dispute, done.resource.id)

    def change_dispute(self, dispute_id: str, status: DisputeStatus) -> Dispute:
        """Move a dispute on.

        Raises:
            ApiError: 404 when there is no such dispute, 400 when it cannot become that.
        """
        self._do(lambda: self._ledger.disputes.change(dispute_id, status, EventRequest()))
        return self.get(Dispute, dispute_id)

    # What is there, and what no rule allows

    def get(self, kind: type[AnyResource], object_id: str) -> AnyResource:
        """An object as it is now.

        Raises:
            ApiError: 404 when there is none.
        """
        found = self._store.find(kind, object_id)
        if found is None:
            raise missing(kind, object_id)
        return found

    def all(self, kind: type[AnyResource], *, list_key: str | None = None) -> list[AnyResource]:
        """All objects of a kind, oldest first; with a list key those alone that have it.

        That of a charge, refund or dispute is its intent's id, that of an event its type.
        """
        page = self._store.page(kind, limit=1_000_000, list_keys=() if list_key is None else (list_key,))
        return page.items[::-1]

    def overwrite(self, resource: Resource) -> None:
        """Store an object as it is given, whatever the rules say; nothing is sent."""
        self._store.save(resource)
        self._endpoints.read_again()

    def remove(self, object_id: str) -> None:
        """Forget an object, as if Stripe had failed before it was made."""
        self._store.remove(object_id)
        self._endpoints.read_again()

    def forget_keys(self) -> None:
        """Forget all idempotency keys, as Stripe may after a day."""
        self._store.forget_answers()

    def clear(self) -> None:
        """Forget everything, as if nothing had ever happened; the endpoint that it is configured with stays."""
        self._store.clear()
        self._endpoints.begin_anew()

    # Inside

    def _do(self, command: Callable[[], Done]) -> Done:
        with self._store.transaction():
            done = command()
        self._changed()
        return done

    def _changed(self) -> None:
        for notify in list(self._listeners):
            notify()

    def _clock_moved(self) -> None:
        self.run_due()
        self._changed()
