"""One attempt to charge a card, and giving the money back: pure functions, as in `rules`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Generic, TypeVar

from msgspec.structs import replace

from sandbox.stripe.commands import CreateRefund
from sandbox.stripe.currencies import display
from sandbox.stripe.errors import ApiError, invalid
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import (
    Charge,
    ChargeStatus,
    Intent,
    Outcome,
    PaymentMethod,
    PaymentMethodDetails,
    Refund,
    RefundStatus,
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


def refund(charge: Charge, command: CreateRefund, *, at: int) -> Change[Refund]:
    """Give back a part of a charge, or all that is left of it; a card's refund succeeds at once.

    Raises:
        ApiError: 400 when the charge failed, was refunded before, or less is left of it.
    """
    if charge.status is not ChargeStatus.SUCCEEDED:
        raise invalid(f"This charge ({charge.id}) did not succeed, so it cannot be refunded.", param="charge")
    left = charge.amount_captured - charge.amount_refunded
    if left == 0:
        raise invalid(f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    amount = left if command.amount is None else command.amount
    if amount > left:
        asked, remains = display(amount, charge.currency), display(left, charge.currency)
        raise invalid(
            f"Refund amount ({asked}) is greater than unrefunded amount on charge ({remains})", param="amount"
        )
    made = Refund(
        id=new_id(Refund.prefix),
        created=at,
        amount=amount,
        currency=charge.currency,
        charge=charge.id,
        payment_intent=charge.payment_intent,
        status=RefundStatus.SUCCEEDED,
        metadata=command.metadata,
        balance_transaction=new_id("txn"),
        reason=command.reason,
    )
    refunded = replace(charge, amount_refunded=charge.amount_refunded + amount, refunded=amount == left)
    return Change(
        subject=made,
        also=(refunded,),
        events=(
            (EventType.REFUND_CREATED, made),
            (EventType.REFUND_UPDATED, made),
            (EventType.CHARGE_REFUNDED, refunded),
        ),
    )
