"""The account's objects: each method carries out one command by the rules and stores what became of it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import msgspec
import stripe
from msgspec.structs import replace

from sandbox.stripe import disputing, refunding, rules
from sandbox.stripe.cards import TEST_CARDS, card_of, new_payment_method
from sandbox.stripe.charging import Change
from sandbox.stripe.clock import Clock
from sandbox.stripe.commands import CancelIntent, ConfirmIntent, CreateIntent, CreateRefund, ListPage, Retrieve
from sandbox.stripe.disputes import Dispute, DisputeReason, DisputeStatus
from sandbox.stripe.errors import ApiError, invalid, missing
from sandbox.stripe.events import Event, EventData, EventRequest
from sandbox.stripe.faults import FaultSwitch
from sandbox.stripe.objects import (
    AnyResource,
    Charge,
    ChargeStatus,
    Intent,
    PaymentMethod,
    Refund,
    RefundFailure,
    RefundStatus,
    Resource,
    new_id,
)
from sandbox.stripe.store import Page, Plan, Store

_EVENTS_ARE_LISTED = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The object that a call is answered with, unless a decline is the answer; its changes are stored either way."""

    resource: Resource
    error: ApiError | None = None


class Ledger:
    """All objects of one account. Writes belong into a transaction of the store, which the caller opens.

    `enabled_events` are the types of event that the webhook endpoint receives, ``*`` for all of them, or none when
    there is no endpoint; `base_url` is where the account is served. Refunds that are not done at once change
    `late_after` seconds after they were made, or only by `change_refund` when it is None.
    """

    def __init__(
        self,
        store: Store,
        *,
        faults: FaultSwitch,
        clock: Clock,
        enabled_events: Set[str],
        base_url: str,
        late_after: float | None,
    ) -> None:
        self._store = store
        self._faults = faults
        self._clock = clock
        self._enabled_events = enabled_events
        self.base_url = base_url
        self._late_after = late_after

    # Payment intents

    def create_intent(self, command: CreateIntent, cause: EventRequest) -> Done:
        """Create an intent, and confirm it too when the command says so."""
        at = self._now()
        method = None if command.payment_method is None else self._new_method(command.payment_method, at=at)
        change = rules.create(command, method, at=at)
        if command.confirm is not None:
            # Nothing is stored before both are done, so that a refused confirmation leaves no intent behind.
            change = self._confirmed(change.subject, method, command.confirm, at=at).after(change)
        return self._apply(change, cause)

    def confirm_intent(self, intent_id: str, command: ConfirmIntent, cause: EventRequest) -> Done:
        """Confirm an intent with the given payment method, or else with its own."""
        intent, at = self.intent(intent_id, client_secret=command.client_secret), self._now()
        rules.check_confirmable(intent)
        method = self._method(intent, command.payment_method, at=at)
        return self._apply(self._confirmed(intent, method, command, at=at), cause)

    def cancel_intent(self, intent_id: str, command: CancelIntent, cause: EventRequest) -> Done:
        """Cancel an intent."""
        return self._apply(rules.cancel(self._found(Intent, intent_id), command, at=self._now()), cause)

    def authenticate_intent(self, intent_id: str, outcome: rules.Authentication, cause: EventRequest) -> Done:
        """Do what the customer does on the page of their bank."""
        intent = self._found(Intent, intent_id)
        rules.check_awaits_authentication(intent)
        method = self._found(PaymentMethod, intent.payment_method or "")
        return self._apply(rules.authenticate(intent, method, outcome, at=self._now()), cause)

    def intent(self, intent_id: str, *, client_secret: str | None = None) -> Intent:
        """An intent, whose client secret must be the given one if one is given."""
        intent = self._found(Intent, intent_id)
        if client_secret is not None and client_secret != intent.client_secret:
            raise invalid(
                "The client_secret provided does not match the client_secret associated with this PaymentIntent.",
                code="payment_intent_invalid_parameter",
                param="client_secret",
            )
        return intent

    # Refunds

    def create_refund(self, command: CreateRefund, cause: EventRequest) -> Done:
        """Refund the charge named, or the one that succeeded of the intent named."""
        charge = self._charge_to_refund(command)
        disputing.check_refundable(charge, self._all_of(Dispute, charge))
        late = card_of(charge.payment_method_details.card).late_refund
        status = RefundStatus.SUCCEEDED if late is None else late.begins
        under_way = refunding.under_way(self._all_of(Refund, charge))
        change = refunding.refund(charge, command, status=status, under_way=under_way, at=self._now())
        if late is not None and self._late_after is not None:
            due_at = self._clock.now() + self._late_after
            plan = Plan(refund_id=change.subject.id, status=late.ends, failure=late.failure, due_at=due_at)
            self._store.plan(plan)
        return self._apply(change, cause)

    def cancel_refund(self, refund_id: str, cause: EventRequest) -> Done:
        """Cancel a refund that waits for the customer."""
        refund = self._found(Refund, refund_id)
        refunding.check_cancelable(refund)
        return self.change_refund(refund_id, RefundStatus.CANCELED, None, cause)

    def change_refund(
        self, refund_id: str, status: RefundStatus, failure: RefundFailure | None, cause: EventRequest
    ) -> Done:
        """Do to a refund what a bank or the account's dashboard does; it changes no more by itself then."""
        refund = self._found(Refund, refund_id)
        change = refunding.change(refund, self._found(Charge, refund.charge), status, failure)
        self._store.drop_plan(refund_id)
        return self._apply(change, cause)

    def carry_out(self, plan: Plan) -> None:
        """Let a refund change as planned, unless something else became of it."""
        refund = self._found(Refund, plan.refund_id)
        if refunding.may_become(refund, plan.status):
            self.change_refund(refund.id, plan.status, plan.failure, EventRequest())
        self._store.drop_plan(refund.id)

    # Disputes

    def open_dispute(
        self, charge_id: str, status: DisputeStatus, reason: DisputeReason, amount: int | None, cause: EventRequest
    ) -> Done:
        """Dispute a charge, as its customer does with their bank."""
        charge = self._found(Charge, charge_id)
        change = disputing.dispute(charge, status=status, reason=reason, amount=amount, at=self._now())
        return self._apply(self._charged_back(change, charge), cause)

    def change_dispute(self, dispute_id: str, status: DisputeStatus, cause: EventRequest) -> Done:
        """Move a dispute on, as a bank does."""
        dispute = self._found(Dispute, dispute_id)
        change = disputing.change(dispute, status, at=self._now())
        return self._apply(self._charged_back(change, self._found(Charge, dispute.charge)), cause)

    # Reading

    def retrieve(self, kind: type[AnyResource], object_id: str, command: Retrieve) -> AnyResource:
        """One object; an event tells how many of its webhooks are outstanding."""
        if command.client_secret is not None:
            self.intent(object_id, client_secret=command.client_secret)
        return self._with_pending(self._found(kind, object_id))

    def page(self, kind: type[AnyResource], command: ListPage) -> Page[AnyResource]:
        """One page of a list; events are listed for 30 days."""
        for param, cursor in (("starting_after", command.starting_after), ("ending_before", command.ending_before)):
            if cursor is not None:
                self._found(kind, cursor, param=param)
        keys, created_from = command.list_keys, command.created_from
        if command.charge is not None:
            # A refund's or dispute's charge is the only one of its intent that succeeded.
            keys = (self._found(Charge, command.charge, param="charge").payment_intent,)
        if kind is Event:
            created_from = max(created_from or 0, self._now() - _EVENTS_ARE_LISTED)
        page = self._store.page(
            kind,
            limit=command.limit,
            list_keys=keys,
            created_from=created_from,
            created_to=command.created_to,
            after=command.starting_after,
            before=command.ending_before,
        )
        return Page(items=[self._with_pending(item) for item in page.items], has_more=page.has_more)

    # Inside

    def _now(self) -> int:
        return int(self._clock.now())

    def _found(self, kind: type[AnyResource], object_id: str, *, param: str | None = None) -> AnyResource:
        resource = self._store.find(kind, object_id)
        if resource is None:
            raise missing(kind, object_id, param=param)
        return resource

    def _confirmed(
        self, intent: Intent, method: PaymentMethod | None, command: ConfirmIntent, *, at: int
    ) -> Change[Intent]:
        url = f"{self.base_url}/_sandbox/payment_intents/{intent.id}/authenticate"
        return rules.confirm(intent, method, command, at=at, authentication_url=url)

    def _new_method(self, token: str, *, at: int) -> PaymentMethod:
        card = TEST_CARDS.get(token)
        if card is None:
            raise missing(PaymentMethod, token, param="payment_method")
        return new_payment_method(card, at=at)

    def _method(self, intent: Intent, name: str | None, *, at: int) -> PaymentMethod | None:
        if name is None or name == intent.payment_method:
            return None if intent.payment_method is None else self._found(PaymentMethod, intent.payment_method)
        if self._store.find(PaymentMethod, name) is not None:
            raise invalid(
                f"The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment and "
                f"may not be used again: {name}",
                param="payment_method",
            )
        return self._new_method(name, at=at)

    def _charge_to_refund(self, command: CreateRefund) -> Charge:
        if command.charge is not None:
            return self._found(Charge, command.charge, param="charge")
        intent = self._found(Intent, command.payment_intent or "", param="payment_intent")
        charge = None if intent.latest_charge is None else self._found(Charge, intent.latest_charge)
        if charge is None or charge.status is not ChargeStatus.SUCCEEDED:
            raise invalid(
                f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        return charge

    def _all_of(self, kind: type[AnyResource], charge: Charge) -> list[AnyResource]:
        # Of all the charges of an intent only one can have refunds or disputes: the one that succeeded.
        return self._store.page(kind, limit=10_000, list_keys=(charge.payment_intent,)).items

    def _charged_back(self, change: Change[Dispute], charge: Charge) -> Change[Dispute]:
        """Refunds under way do not outlive a chargeback: the bank has the money already."""
        if not change.subject.is_charge_refundable:
            for refund in self._all_of(Refund, charge):
                if refunding.under_way([refund]):
                    failure = RefundFailure.CHARGE_FOR_PENDING_REFUND_DISPUTED
                    self._store.drop_plan(refund.id)
                    change = change.followed_by(refunding.change(refund, charge, RefundStatus.FAILED, failure))
        return change

    def _with_pending(self, resource: AnyResource) -> AnyResource:
        if isinstance(resource, Event):
            return replace(resource, pending_webhooks=self._store.count_deliveries(resource.id))
        return resource

    def _apply(self, change: Change[Intent] | Change[Refund] | Change[Dispute], cause: EventRequest) -> Done:
        for resource in (*change.also, change.subject):
            self._store.save(resource)
        now = self._clock.now()
        for event_type, subject in change.events:
            is_wanted = not self._enabled_events.isdisjoint((event_type, "*"))
            event = Event(
                id=new_id(Event.prefix),
                created=int(now),
                type=event_type,
                api_version=stripe.api_version,
                data=EventData(object=msgspec.Raw(msgspec.json.encode(subject))),
                request=cause,
                pending_webhooks=int(is_wanted),
            )
            self._store.save(event)
            for due_at in self._faults.due_times(now) if is_wanted else ():
                self._store.add_delivery(event.id, since=now, due_at=due_at)
        return Done(resource=change.subject, error=change.error)
