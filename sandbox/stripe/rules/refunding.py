"""Giving the money of a charge back, and what becomes of a refund: pure functions, as in `rules`.

A refund may take days, or be taken back after it seemed done (https://docs.stripe.com/refunds#failed-refunds): a failed
or canceled one leaves its charge as if it had not been. What is under way is not refunded yet, but cannot be refunded a
second time either.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sandbox.stripe.commands import CreateRefund
from sandbox.stripe.errors import invalid
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import Charge, ChargeStatus, Refund, RefundFailure, RefundStatus
from sandbox.stripe.resources import new_id
from sandbox.stripe.rules.changes import Change
from sandbox.stripe.rules.currencies import display

_UNDER_WAY = frozenset({RefundStatus.PENDING, RefundStatus.REQUIRES_ACTION})
_ENDED = frozenset({RefundStatus.FAILED, RefundStatus.CANCELED})
_NEXT = {
    RefundStatus.PENDING: {RefundStatus.REQUIRES_ACTION, RefundStatus.SUCCEEDED, *_ENDED},
    RefundStatus.REQUIRES_ACTION: {RefundStatus.PENDING, RefundStatus.SUCCEEDED, *_ENDED},
    # Banks send money back, and the dashboard can cancel a card's refund for a while.
    RefundStatus.SUCCEEDED: _ENDED,
    RefundStatus.FAILED: frozenset[RefundStatus](),
    RefundStatus.CANCELED: frozenset[RefundStatus](),
}


def under_way(refunds: Iterable[Refund]) -> int:
    """How much of a charge's money is on its way back, of all its refunds."""
    return sum(refund.amount for refund in refunds if refund.status in _UNDER_WAY)


def refund(charge: Charge, command: CreateRefund, *, status: RefundStatus, under_way: int, at: int) -> Change[Refund]:
    """Give back a part of a charge, or all that is left of it; what is `under_way` cannot be refunded again.

    Raises:
        ApiError: 400 when the charge failed or is not captured, was refunded before, or less is left of it.
    """
    if charge.status is not ChargeStatus.SUCCEEDED:
        raise invalid(f"This charge ({charge.id}) did not succeed, so it cannot be refunded.", param="charge")
    if not charge.captured:
        raise invalid(
            f"Charge {charge.id} has not been captured yet: cancel its PaymentIntent ({charge.payment_intent})."
        )
    left = charge.amount_captured - charge.amount_refunded - under_way
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
        status=status,
        metadata=command.metadata,
        balance_transaction=new_id("txn"),
        pending_reason=_pending_reason(status),
        reason=command.reason,
    )
    created = Change(subject=made, events=((EventType.REFUND_CREATED, made),))
    if status is not RefundStatus.SUCCEEDED:
        return created
    refunded = _charge_with(charge, charge.amount_refunded + amount)
    events = ((EventType.REFUND_UPDATED, made), (EventType.CHARGE_REFUNDED, refunded))
    return Change(subject=made, also=(refunded,), events=events).after(created)


def check_cancelable(refund: Refund) -> None:
    """Raise ApiError (400) unless the refund waits for the customer (https://docs.stripe.com/api/refunds/cancel)."""
    if refund.status is not RefundStatus.REQUIRES_ACTION:
        raise invalid("Canceling this refund is unsupported.")


def may_become(refund: Refund, status: RefundStatus) -> bool:
    """Whether a refund can change to this status."""
    return status in _NEXT[refund.status]


def change(refund: Refund, charge: Charge, status: RefundStatus, failure: RefundFailure | None) -> Change[Refund]:
    """Move a refund on; `failure` is the reason of a failure, by default unknown.

    Raises:
        ApiError: 400 when it cannot become that, or a reason comes with anything but a failure.
    """
    if not may_become(refund, status):
        raise invalid(f"A refund that is {refund.status} does not become {status}.", param="status")
    if failure is not None and status is not RefundStatus.FAILED:
        raise invalid("Only a refund that fails has a failure_reason.", param="failure_reason")
    changed = replace(refund, status=status, pending_reason=_pending_reason(status))
    if status in _ENDED:
        reason = RefundFailure.MERCHANT_REQUEST if status is RefundStatus.CANCELED else failure or RefundFailure.UNKNOWN
        changed = replace(changed, failure_reason=reason, failure_balance_transaction=new_id("txn"))
    events = [(EventType.REFUND_UPDATED, changed)]
    if status is RefundStatus.FAILED:
        events.append((EventType.REFUND_FAILED, changed))
    update = Change(subject=changed, events=(*events, (EventType.CHARGE_REFUND_UPDATED, changed)))
    if status is RefundStatus.SUCCEEDED:
        refunded = _charge_with(charge, charge.amount_refunded + refund.amount)
        return Change(subject=changed, also=(refunded,), events=((EventType.CHARGE_REFUNDED, refunded),)).after(update)
    if refund.status is RefundStatus.SUCCEEDED:
        # No event of the charge's own: it is not listed as one that a failed refund sends.
        return Change(subject=changed, also=(_charge_with(charge, charge.amount_refunded - refund.amount),)).after(
            update
        )
    return update


def _charge_with(charge: Charge, amount_refunded: int) -> Charge:
    return replace(charge, amount_refunded=amount_refunded, refunded=amount_refunded == charge.amount_captured)


def _pending_reason(status: RefundStatus) -> str | None:
    """https://docs.stripe.com/changelog/basil/2025-04-30/refund-pending-reason"""
    return "processing" if status is RefundStatus.PENDING else None
