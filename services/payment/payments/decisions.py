"""What becomes of a payment: from how it was read to its change, without a database or Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from domain.ids import new_id
from domain.payments import PaymentStatus
from services.payment.payments.model import STATUS_UPDATED, Change, NewPayment, Payment
from services.payment.stripe.event_types import AUTHENTICATION_FAILED
from services.payment.stripe.model import FailedCharge, Intent

NO_CURRENCY: Final = "XXX"
"""ISO 4217's code where there is no currency: a tombstone's."""


def opened(new: NewPayment, *, at: datetime) -> Payment:
    """The payment that an order is opened with; one of nothing needs nobody to pay it."""
    is_free = new.amount == 0
    return Payment(
        id=new.id,
        order_id=new.order_id,
        user_id=new.user_id,
        amount=new.amount,
        currency=new.currency,
        payment_method=new.payment_method,
        status=PaymentStatus.SUCCEEDED if is_free else PaymentStatus.OPENING,
        currency_received=new.currency if is_free else None,
        generation_at=at,
        seq=1,
        created_at=at,
    )


def tombstone(order_id: str, *, at: datetime) -> Payment:
    """What a void leaves that came before the payment: it refuses a late open."""
    return Payment(
        id=new_id(),
        order_id=order_id,
        amount=0,
        currency=NO_CURRENCY,
        status=PaymentStatus.CANCELLED,
        closing=True,
        voided=True,
        generation_at=at,
        seq=0,
        created_at=at,
    )


def keep_intent(payment: Payment, intent: Intent, *, client_secret: bytes | None) -> Change | None:
    """Give the payment its one intent, with its sealed client secret; one that it has already stays."""
    if payment.intent_id is not None:
        return None
    status = payment.status if payment.status.is_final else intent.status
    kept = _received(payment.change(intent_id=intent.id, client_secret=client_secret, status=status), intent)
    return Change(payment=kept, updates=[STATUS_UPDATED])


def follow_intent(payment: Payment, intent: Intent, failed: Sequence[FailedCharge]) -> Change:
    """What the payment is by what was read of its intent, and of the charges of this that failed."""
    found = payment if payment.status.is_final else _received(payment.change(status=intent.status), intent)
    return count_failed(found, failed, before=payment)


def count_failed(payment: Payment, failed: Sequence[FailedCharge], *, before: Payment) -> Change:
    """Count each failed charge once, beside whatever else changed since `before`."""
    new = [charge for charge in failed if charge.charge_id not in payment.failed_charges]
    counted = payment.change(failed_charges=payment.failed_charges.union(charge.charge_id for charge in new))
    if new:
        last = max(new, key=lambda charge: (charge.at, charge.charge_id))
        counted = counted.change(last_decline_code=last.decline_code)
    return Change(payment=counted, updates=[] if counted == before else [STATUS_UPDATED], attempts=new)


def count_failed_authentication(payment: Payment, *, event_id: str, at: datetime) -> Change:
    """Count an authentication that failed, once, by its event: the intent shows no more than the last one."""
    attempt = FailedCharge(charge_id=event_id, decline_code=AUTHENTICATION_FAILED, at=at)
    return count_failed(payment, [attempt], before=payment)


def next_generation(payment: Payment, *, spent: int, at: datetime) -> Change | None:
    """Go on to the next generation of idempotency keys, unless somebody did so since generation `spent` was read."""
    if payment.generation != spent:
        return None
    return Change(payment=payment.change(generation=spent + 1, generation_at=at))


def close(payment: Payment) -> Change | None:
    """Nobody shall pay any more."""
    return None if payment.closing else Change(payment=payment.change(closing=True))


def void(payment: Payment) -> Change | None:
    """The order's payment is undone: what came in goes back."""
    return None if payment.voided else Change(payment=payment.change(closing=True, voided=True))


def cancel_without_intent(payment: Payment) -> Change | None:
    """End a payment for which Stripe refused to make an intent."""
    if payment.intent_id is not None or payment.status.is_final:
        return None
    return Change(payment=payment.change(status=PaymentStatus.CANCELLED), updates=[STATUS_UPDATED])


def _received(payment: Payment, intent: Intent) -> Payment:
    """With what the intent brought in, in the currency in which it did: the saga compares it with what it asked for."""
    if payment.status is not PaymentStatus.SUCCEEDED:
        return payment
    return payment.change(amount_received=intent.amount_received, currency_received=intent.currency)
