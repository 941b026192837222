"""What an order does next while it waits for its payment: a pure function of what is known.

`workflows.payment_wait` makes the move, and asks again with what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.orders import CancelledBy, Reason
from domain.payments import PaymentStatus
from domain.saga import PaymentState
from workflows.order_ending import Ending

PROCESSING_REREAD: Final = timedelta(hours=1)
"""How often a payment that is being processed is read when no event comes."""


class Evidence(StrEnum):
    """How the state of the payment is known."""

    OPENED = "OPENED"
    """The provider's answer when the payment was opened: not enough to sell for, unless nothing is to be paid."""
    READ = "READ"
    """A signed event was stored, or the payment was read again at the provider."""
    CLOSED = "CLOSED"
    """The answer of `close_payment`, which reads it too."""


class Awaited(StrEnum):
    """What the order waits for."""

    PAYMENT = "PAYMENT"
    """The customer pays."""
    EVENT = "EVENT"
    """The signed event of a payment that is said to have succeeded."""
    SETTLEMENT = "SETTLEMENT"
    """A payment that is being processed, and cannot be cancelled, succeeds or fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTerms:
    """What the order asks of its payment; the amount in minor units of `currency`."""

    amount: int
    currency: str
    deadline: datetime
    max_attempts: int
    """Failed charges and authentications after which the order fails."""
    event_timeout: timedelta
    """How long to wait for the signed event of a payment that is said to have succeeded."""

    @property
    def is_free(self) -> bool:
        """Whether nothing is to be paid: the payment service alone knows of such a payment, and says what it is."""
        return self.amount == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePayment:
    """Take no more money; unless it came meanwhile, the order comes to this ending."""

    ending: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOrder:
    """No money can come any more, or not the right one."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class Proceed:
    """The right money is in: the pivot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait for an event of the payment, or until then; read the payment afterwards."""

    until: datetime
    awaited: Awaited
    ending: Ending | None
    """To which the order comes unless the money does. While there is none, a cancellation request ends the wait."""


Move = ClosePayment | EndOrder | Proceed | Wait


def next_move(
    terms: PaymentTerms,
    payment: PaymentState,
    *,
    evidence: Evidence,
    now: datetime,
    cancelled_by: CancelledBy | None,
    decided: Ending | None,
) -> Move:
    """What to do next.

    Args:
        terms: what the order asks of the payment.
        payment: as it was seen last.
        evidence: how it was seen.
        now: the workflow's time.
        cancelled_by: who asked for the order's cancellation first, if anybody did.
        decided: the ending of an earlier move, which stands.
    """
    ending = decided or find_ending(terms, payment, now=now, cancelled_by=cancelled_by)
    if payment.status is PaymentStatus.CANCELLED:
        return EndOrder(ending=ending or Ending.failed(Reason.PAYMENT_CANCELLED))
    if payment.status is PaymentStatus.SUCCEEDED:
        if evidence is Evidence.OPENED and not terms.is_free:
            return Wait(until=now + terms.event_timeout, awaited=Awaited.EVENT, ending=ending)
        is_right = (payment.amount_received, payment.currency) == (terms.amount, terms.currency)
        return Proceed() if is_right else EndOrder(ending=Ending.failed(Reason.PAYMENT_MISMATCH))
    if ending is None:
        return Wait(until=terms.deadline, awaited=Awaited.PAYMENT, ending=None)
    if evidence is Evidence.CLOSED:
        return Wait(until=now + PROCESSING_REREAD, awaited=Awaited.SETTLEMENT, ending=ending)
    return ClosePayment(ending=ending)


def find_ending(
    terms: PaymentTerms, payment: PaymentState, *, now: datetime, cancelled_by: CancelledBy | None
) -> Ending | None:
    """To which ending the order comes unless the money is in already; None while it may still be paid."""
    if cancelled_by is not None:
        return Ending.cancelled(cancelled_by)
    if payment.failed_attempts >= terms.max_attempts:
        return Ending.failed(Reason.PAYMENT_DECLINED)
    if now >= terms.deadline:
        return Ending.failed(Reason.PAYMENT_TIMEOUT)
    return None
