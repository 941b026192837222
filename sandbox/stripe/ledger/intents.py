"""Payment intents and their charges: each method carries out one command."""

from __future__ import annotations

from sandbox.stripe.commands import CancelIntent, CaptureIntent, ConfirmIntent, CreateIntent, UpdateIntent
from sandbox.stripe.errors import invalid, missing
from sandbox.stripe.events import EventRequest
from sandbox.stripe.ledger.journal import Done, Journal
from sandbox.stripe.objects import Charge, Intent, IntentStatus
from sandbox.stripe.payment_methods import PaymentMethod, new_payment_method
from sandbox.stripe.rules import charging, ending, intents
from sandbox.stripe.rules.changes import Change
from sandbox.stripe.rules.tokens import DEBIT_FAILURES, TEST_METHODS, DebitFailureCode, method_of
from sandbox.stripe.store import DebitEnd


class IntentLedger:
    """The intents of one account; `base_url` is where it is served."""

    def __init__(self, journal: Journal, *, base_url: str) -> None:
        self._journal = journal
        self.base_url = base_url

    # What callers ask for

    def create(self, command: CreateIntent, cause: EventRequest) -> Done:
        """Create an intent, and confirm it too when the command says so."""
        at = self._journal.now()
        method = None if command.payment_method is None else self._new_method(command.payment_method, at=at)
        change = intents.create(command, method, at=at)
        if command.confirm is not None:
            # Nothing is stored before both are done, so that a refused confirmation leaves no intent behind.
            change = self._confirmed(change.subject, method, command.confirm, at=at).after(change)
        return self._journal.apply(change, cause)

    def update(self, intent_id: str, command: UpdateIntent, cause: EventRequest) -> Done:
        """Change an intent that is not paid yet, or its metadata at any time."""
        intent = self._journal.get(Intent, intent_id)
        name, at = command.payment_method, self._journal.now()
        method = None if name is None else self._method(intent, name, at=at)
        return self._journal.apply(intents.update(intent, method, command), cause)

    def confirm(self, intent_id: str, command: ConfirmIntent, cause: EventRequest) -> Done:
        """Confirm an intent with the given payment method, or else with its own."""
        intent, at = self.get(intent_id, client_secret=command.client_secret), self._journal.now()
        intents.check_confirmable(intent)
        method = self._method(intent, command.payment_method, at=at)
        return self._journal.apply(self._confirmed(intent, method, command, at=at), cause)

    def capture(self, intent_id: str, command: CaptureIntent, cause: EventRequest) -> Done:
        """Take the money that an intent holds."""
        intent = self._journal.get(Intent, intent_id)
        ending.check_capturable(intent)
        charge, method = self._charge_of(intent), self._method_of(intent)
        return self._journal.apply(ending.capture(intent, charge, method, command, at=self._journal.now()), cause)

    def cancel(self, intent_id: str, command: CancelIntent, cause: EventRequest) -> Done:
        """Cancel an intent."""
        intent = self._journal.get(Intent, intent_id)
        method = None if intent.payment_method is None else self._method_of(intent)
        charge = None if intent.latest_charge is None else self._charge_of(intent)
        return self._journal.apply(ending.cancel(intent, method, charge, command, at=self._journal.now()), cause)

    def get(self, intent_id: str, *, client_secret: str | None = None) -> Intent:
        """An intent, whose client secret must be the given one if one is given."""
        intent = self._journal.get(Intent, intent_id)
        if client_secret is not None and client_secret != intent.client_secret:
            raise invalid(
                "The client_secret provided does not match the client_secret associated with this PaymentIntent.",
                code="payment_intent_invalid_parameter",
                param="client_secret",
            )
        return intent

    # What customers and banks do

    def authenticate(self, intent_id: str, outcome: intents.Authentication, cause: EventRequest) -> Done:
        """Do what the customer does on the page of their bank."""
        intent = self._journal.get(Intent, intent_id)
        intents.check_awaits_authentication(intent)
        method = self._method_of(intent)
        return self._journal.apply(intents.authenticate(intent, method, outcome, at=self._journal.now()), cause)

    def settle(self, intent_id: str, cause: EventRequest) -> Done:
        """Let the money of an intent that is processing arrive."""
        intent = self._journal.get(Intent, intent_id)
        ending.check_processing(intent)
        charge, method = self._charge_of(intent), self._method_of(intent)
        return self._ended(charging.settle(intent, charge, method, at=self._journal.now()), cause)

    def fail(self, intent_id: str, code: DebitFailureCode | None, cause: EventRequest) -> Done:
        """Let the money of an intent that is processing not arrive, for the reason given, or else its method's own."""
        intent = self._journal.get(Intent, intent_id)
        ending.check_processing(intent)
        method = self._method_of(intent)
        delay = method_of(method.details).delay
        own = None if delay is None else delay.failure
        given = code or (DebitFailureCode.INCORRECT_ACCOUNT_HOLDER_NAME if own is None else own.failure_code)
        return self._ended(charging.fail(intent, self._charge_of(intent), method, DEBIT_FAILURES[given]), cause)

    def end_debit(self, intent_id: str) -> None:
        """Let the debit of an intent end as its payment method does, unless it has ended."""
        intent = self._journal.get(Intent, intent_id)
        if intent.status is not IntentStatus.PROCESSING:
            return
        delay = method_of(self._method_of(intent).details).delay
        if delay is None or delay.failure is None:
            self.settle(intent_id, EventRequest())
        else:
            self.fail(intent_id, None, EventRequest())

    # Inside

    def _confirmed(
        self, intent: Intent, method: PaymentMethod | None, command: ConfirmIntent, *, at: int
    ) -> Change[Intent]:
        url = f"{self.base_url}/_sandbox/payment_intents/{intent.id}/authenticate"
        change = intents.confirm(intent, method, command, at=at, authentication_url=url)
        delay = None if method is None else method_of(method.details).delay
        if change.subject.status is IntentStatus.PROCESSING and delay is not None and delay.ends:
            self._journal.plan(intent.id, DebitEnd(), least_seconds=delay.least_seconds)
        return change

    def _ended(self, change: Change[Intent], cause: EventRequest) -> Done:
        self._journal.drop_plan(change.subject.id)
        return self._journal.apply(change, cause)

    def _charge_of(self, intent: Intent) -> Charge:
        return self._journal.get(Charge, intent.latest_charge or "")

    def _method_of(self, intent: Intent) -> PaymentMethod:
        return self._journal.get(PaymentMethod, intent.payment_method or "")

    def _new_method(self, token: str, *, at: int) -> PaymentMethod:
        method = TEST_METHODS.get(token)
        if method is None:
            raise missing(PaymentMethod, token, param="payment_method")
        return new_payment_method(method.details, at=at)

    def _method(self, intent: Intent, name: str | None, *, at: int) -> PaymentMethod | None:
        if name is None or name == intent.payment_method:
            return None if intent.payment_method is None else self._method_of(intent)
        if self._journal.find(PaymentMethod, name) is not None:
            raise invalid(
                f"The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment and "
                f"may not be used again: {name}",
                param="payment_method",
            )
        return self._new_method(name, at=at)
