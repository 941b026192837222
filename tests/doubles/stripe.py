"""Stripe as far as a saga can see it, in memory: intents, charges, refunds and events, with Stripe's own rules.

An intent is made unconfirmed; a confirmation succeeds, is declined, asks for authentication or leaves it processing;
only what took no money can be canceled, and no more can be refunded than was taken. A refund may be pending first, and
fail after it succeeded; a chargeback forbids refunds until it is won. A repeated idempotency key repeats the first
answer and does nothing. Amounts are in minor units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar, cast

Answer = TypeVar("Answer")


class Card(StrEnum):
    """Payment methods by how a confirmation with them ends; Stripe refuses a request with any other."""

    VISA = "pm_card_visa"
    DECLINED = "pm_card_chargeDeclined"
    AUTHENTICATION = "pm_card_authenticationRequired"
    DELAYED = "pm_usBankAccount"
    """Leaves the intent processing until `settle` or `bounce`."""
    PENDING_REFUND = "pm_card_pendingRefund"
    """Pays like any other; its refunds are pending until they are moved on."""


class StripeRefuses(Exception):
    """The request itself is wrong."""


class StripeUnexpectedState(StripeRefuses):
    """The intent's status forbids the call."""


class StripeChargeDisputed(StripeRefuses):
    """A chargeback holds the money, or took it."""


class StripeDeclines(Exception):
    """The charge failed: an answer, which a re-read tells too."""


@dataclass(slots=True)
class Refund:
    """Money given back; `refund_id` is ours, from its metadata, unless it was made in the dashboard."""

    id: str
    refund_id: str | None
    amount: int
    status: str = "succeeded"

    @property
    def is_live(self) -> bool:
        """Whether its money went back, or is about to."""
        return self.status in ("pending", "succeeded")


@dataclass(slots=True)
class Dispute:
    """A customer's dispute with their bank; an inquiry's status begins with warning."""

    id: str
    amount: int
    status: str

    @property
    def withdrawn(self) -> int:
        """What it holds or took."""
        return self.amount if self.status in ("needs_response", "under_review", "lost") else 0


@dataclass(slots=True)
class Intent:
    """A payment intent, its charges and its refunds."""

    id: str
    order_id: str
    payment_id: str
    amount: int
    currency: str
    status: str = "requires_payment_method"
    amount_received: int = 0
    failed_charges: list[str] = field(default_factory=list)
    succeeded_charges: list[str] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    refunds_take_time: bool = False
    disputes: list[Dispute] = field(default_factory=list)

    @property
    def refunded(self) -> int:
        """What went back, in minor units."""
        return sum(refund.amount for refund in self.refunds if refund.status == "succeeded")

    @property
    def left(self) -> int:
        """What came in and neither went back nor is about to, in minor units."""
        return self.amount_received - sum(refund.amount for refund in self.refunds if refund.is_live)


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """A signed event: a hint that an intent changed."""

    id: str
    type: str
    intent_id: str


class StripeModel:
    """One account."""

    def __init__(self) -> None:
        self.intents: dict[str, Intent] = {}
        self.events: list[StripeEvent] = []
        self.refused_refunds: list[str] = []
        """Our refund ids that asked for more than was left: only Stripe's own rule kept the money from moving twice."""
        self._outcomes: dict[str, object] = {}
        self._ids = count(1)

    def create(self, *, order_id: str, payment_id: str, amount: int, currency: str, key: str) -> Intent:
        """A new intent, unconfirmed; with a key used before, the intent of then as it is now."""

        def make() -> Intent:
            intent = Intent(self._id("pi"), order_id, payment_id, amount, currency)
            self.intents[intent.id] = intent
            return intent

        return self._once(key, make)

    def confirm(self, intent_id: str, card: str, *, key: str | None = None) -> Intent:
        """Try to take the money.

        Raises:
            StripeDeclines: the charge failed.
            StripeUnexpectedState: the intent is processing, succeeded or canceled.
            StripeRefuses: there is no such payment method.
        """
        return self._once(key, lambda: self._confirm(self.intents[intent_id], card))

    def authenticate(self, intent_id: str) -> Intent:
        """The customer is back from their bank: the money is taken."""
        return self._leave(intent_id, "requires_action", self._succeed)

    def settle(self, intent_id: str) -> Intent:
        """Money on its way arrives."""
        return self._leave(intent_id, "processing", self._succeed)

    def bounce(self, intent_id: str) -> Intent:
        """Money on its way does not arrive: a failed charge."""
        return self._leave(intent_id, "processing", self._fail)

    def cancel(self, intent_id: str, *, key: str | None = None) -> Intent:
        """End an intent that took no money.

        Raises:
            StripeUnexpectedState: it is processing, succeeded or canceled.
        """
        return self._once(key, lambda: self._cancel(self.intents[intent_id]))

    def change_amount(self, intent_id: str, amount: int) -> None:
        """What somebody with the secret key can do before it is paid."""
        self.intents[intent_id].amount = amount

    def refund(self, intent_id: str, *, refund_id: str | None, amount: int, key: str | None = None) -> Refund:
        """Give money back; without our id, somebody does so in the dashboard.

        Raises:
            StripeChargeDisputed: a chargeback holds the money, or took it.
            StripeRefuses: so much was not taken, or not left.
        """
        return self._once(key, lambda: self._refund(self.intents[intent_id], refund_id, amount))

    def move_refund(self, made_id: str, status: str) -> None:
        """Stripe, or a bank, lets a refund succeed or fail, also one that had succeeded."""
        intent, refund = next(
            (intent, refund) for intent in self.intents.values() for refund in intent.refunds if refund.id == made_id
        )
        refund.status = status
        self._tell("refund.failed" if status == "failed" else "refund.updated", intent)

    def dispute(self, intent_id: str, *, status: str = "needs_response") -> Dispute:
        """The customer goes to their bank; a chargeback fails what is pending."""
        intent = self.intents[intent_id]
        dispute = Dispute(self._id("du"), intent.amount_received - intent.refunded, status)
        intent.disputes.append(dispute)
        self._tell("charge.dispute.created", intent)
        self._fail_pending(intent, dispute)
        return dispute

    def move_dispute(self, dispute_id: str, status: str) -> None:
        """The bank, or Stripe, moves a dispute on."""
        intent, dispute = next(
            (intent, dispute)
            for intent in self.intents.values()
            for dispute in intent.disputes
            if dispute.id == dispute_id
        )
        dispute.status = status
        self._tell("charge.dispute.updated", intent)
        self._fail_pending(intent, dispute)

    def _fail_pending(self, intent: Intent, dispute: Dispute) -> None:
        if dispute.withdrawn:
            for refund in intent.refunds:
                if refund.status == "pending":
                    self.move_refund(refund.id, "failed")

    def find_refund(self, intent_id: str, refund_id: str) -> Refund | None:
        """The intent's refund that was made for our refund id, if there is one."""
        made = (refund for refund in self.intents[intent_id].refunds if refund.refund_id == refund_id)
        return next(made, None)

    def _confirm(self, intent: Intent, card: str) -> Intent:
        if intent.status not in ("requires_payment_method", "requires_action"):
            raise StripeUnexpectedState(f"{intent.id} is {intent.status}")
        match card:
            case Card.VISA | Card.PENDING_REFUND:
                intent.refunds_take_time = card == Card.PENDING_REFUND
                self._succeed(intent)
            case Card.DECLINED:
                self._fail(intent)
                raise StripeDeclines(intent.id)
            case Card.AUTHENTICATION:
                self._change(intent, "requires_action", "payment_intent.requires_action")
            case Card.DELAYED:
                self._change(intent, "processing", "payment_intent.processing")
            case _:
                raise StripeRefuses(f"No such PaymentMethod: '{card}'")
        return intent

    def _cancel(self, intent: Intent) -> Intent:
        if intent.status not in ("requires_payment_method", "requires_action"):
            raise StripeUnexpectedState(f"{intent.id} is {intent.status}")
        self._change(intent, "canceled", "payment_intent.canceled")
        return intent

    def _refund(self, intent: Intent, refund_id: str | None, amount: int) -> Refund:
        if any(dispute.withdrawn for dispute in intent.disputes):
            raise StripeChargeDisputed(f"{intent.id} has been charged back; cannot issue a refund")
        if amount > intent.left:
            self.refused_refunds.append(refund_id or "dashboard")
            raise StripeRefuses(f"{intent.id}: so much is not left to refund")
        refund = Refund(self._id("re"), refund_id, amount, "pending" if intent.refunds_take_time else "succeeded")
        intent.refunds.append(refund)
        self._tell("refund.updated", intent)
        return refund

    def _leave(self, intent_id: str, status: str, become: Callable[[Intent], None]) -> Intent:
        intent = self.intents[intent_id]
        if intent.status != status:
            raise StripeUnexpectedState(f"{intent.id} is {intent.status}")
        become(intent)
        return intent

    def _succeed(self, intent: Intent) -> None:
        intent.succeeded_charges.append(self._id("ch"))
        intent.amount_received = intent.amount
        self._change(intent, "succeeded", "payment_intent.succeeded")

    def _fail(self, intent: Intent) -> None:
        intent.failed_charges.append(self._id("ch"))
        self._change(intent, "requires_payment_method", "payment_intent.payment_failed")

    def _change(self, intent: Intent, status: str, event_type: str) -> None:
        intent.status = status
        self._tell(event_type, intent)

    def _tell(self, event_type: str, intent: Intent) -> None:
        self.events.append(StripeEvent(self._id("evt"), event_type, intent.id))

    def _once(self, key: str | None, call: Callable[[], Answer]) -> Answer:
        """Carry a call out once per key; its first outcome, a refusal too, is that of every repeat."""
        if key is None:
            return call()
        if key not in self._outcomes:
            try:
                answer = call()
            except (StripeRefuses, StripeDeclines) as error:
                self._outcomes[key] = error
            else:
                self._outcomes[key] = answer
        outcome: Any = self._outcomes[key]
        if isinstance(outcome, Exception):
            raise outcome
        return cast("Answer", outcome)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids)}"
