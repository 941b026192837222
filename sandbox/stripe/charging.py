"""One attempt to charge a card, and what a call changed: pure functions, as in `rules`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sandbox.stripe.errors import ApiError
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import (
    Charge,
    ChargeStatus,
    Intent,
    Outcome,
    PaymentMethod,
    PaymentMethodDetails,
    Resource,
    new_id,
)

Subject = TypeVar("Subject", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[Subject]):
    """What a call did: its subject as it is now, what else is to be stored, and the events in order."""

    subject: Subject
    also: tuple[Resource, ...] = ()
    events: tuple[tuple[EventType, Resource], ...] = ()
    error: ApiError | None = None

    def after(self, earlier: Change[Subject]) -> Change[Subject]:
        """Both changes of one subject as one."""
        return dataclasses.replace(self, also=(*earlier.also, *self.also), events=(*earlier.events, *self.events))

    def followed_by(self, other: Change[Any]) -> Change[Subject]:
        """This change and what it brought about on another object."""
        also = (*self.also, *other.also, other.subject)
        return dataclasses.replace(self, also=also, events=(*self.events, *other.events))


def attempt(intent: Intent, method: PaymentMethod, *, status: ChargeStatus, outcome: Outcome, at: int) -> Charge:
    """The charge that one confirmation made, paid or failed."""
    paid = status is ChargeStatus.SUCCEEDED
    return Charge(
        id=new_id(Charge.prefix),
        created=at,
        amount=intent.amount,
        amount_captured=intent.amount if paid else 0,
        balance_transaction=new_id("txn") if paid else None,
        currency=intent.currency,
        captured=paid,
        paid=paid,
        status=status,
        payment_intent=intent.id,
        payment_method=method.id,
        payment_method_details=PaymentMethodDetails(card=method.card),
        outcome=outcome,
        metadata=intent.metadata,
        description=intent.description,
        receipt_email=intent.receipt_email,
    )
