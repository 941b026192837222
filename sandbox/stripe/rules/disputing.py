"""A customer disputes a charge with their bank, and how that ends: pure functions, as in `rules`.

A chargeback takes the money from the account when it opens and gives it back when it is won; an inquiry takes none
unless it becomes a chargeback (https://docs.stripe.com/disputes/how-disputes-work).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sandbox.stripe.disputes import BalanceTransaction, Dispute, DisputeReason, DisputeStatus, EvidenceDetails
from sandbox.stripe.errors import invalid
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import Charge, ChargeStatus
from sandbox.stripe.resources import new_id
from sandbox.stripe.rules.changes import Change

_RESPONSE_SECONDS = 7 * 24 * 3600
_INQUIRY_ENDS = frozenset({DisputeStatus.WARNING_CLOSED, DisputeStatus.NEEDS_RESPONSE})
_CHARGEBACK_ENDS = frozenset({DisputeStatus.WON, DisputeStatus.LOST})
_OPENINGS = frozenset({DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.NEEDS_RESPONSE})
_NEXT: dict[DisputeStatus, frozenset[DisputeStatus]] = {
    DisputeStatus.WARNING_NEEDS_RESPONSE: _INQUIRY_ENDS | {DisputeStatus.WARNING_UNDER_REVIEW},
    DisputeStatus.WARNING_UNDER_REVIEW: _INQUIRY_ENDS,
    DisputeStatus.NEEDS_RESPONSE: _CHARGEBACK_ENDS | {DisputeStatus.UNDER_REVIEW},
    DisputeStatus.UNDER_REVIEW: _CHARGEBACK_ENDS,
    DisputeStatus.WARNING_CLOSED: frozenset(),
    DisputeStatus.WON: frozenset(),
    DisputeStatus.LOST: frozenset(),
}


def check_refundable(charge: Charge, disputes: Iterable[Dispute]) -> None:
    """Raise ApiError (400 ``charge_disputed``) while a chargeback holds the money of a charge, or took it for good.

    https://docs.stripe.com/error-codes#charge-disputed
    """
    if not all(dispute.is_charge_refundable for dispute in disputes):
        raise invalid(f"Charge {charge.id} has been charged back; cannot issue a refund.", code="charge_disputed")


def dispute(
    charge: Charge, *, status: DisputeStatus, reason: DisputeReason, amount: int | None, at: int
) -> Change[Dispute]:
    """Dispute a charge, or a part of it; what was not refunded when no amount is given.

    Raises:
        ApiError: 400 when the charge failed, is disputed already, or less was taken by it.
    """
    if status not in _OPENINGS:
        raise invalid(f"A dispute does not begin as {status}.", param="status")
    if charge.status is not ChargeStatus.SUCCEEDED or not charge.captured:
        raise invalid(f"This charge ({charge.id}) did not succeed, so it cannot be disputed.")
    if charge.disputed:
        raise invalid(f"Charge {charge.id} has been disputed before.")
    disputed = charge.amount_captured - charge.amount_refunded if amount is None else amount
    if not 0 < disputed <= charge.amount_captured:
        raise invalid("The disputed amount must be a part of the charge.", param="amount")
    opened = Dispute(
        id=new_id(Dispute.prefix),
        created=at,
        amount=disputed,
        currency=charge.currency,
        charge=charge.id,
        payment_intent=charge.payment_intent,
        reason=reason,
        status=status,
        is_charge_refundable=True,
        evidence_details=EvidenceDetails(due_by=at + _RESPONSE_SECONDS),
    )
    also = (replace(charge, disputed=True),)
    if status is DisputeStatus.WARNING_NEEDS_RESPONSE:
        return Change(subject=opened, also=also, events=((EventType.DISPUTE_CREATED, opened),))
    taken = _with_funds_withdrawn(opened, at=at)
    events = ((EventType.DISPUTE_CREATED, taken), (EventType.DISPUTE_FUNDS_WITHDRAWN, taken))
    return Change(subject=taken, also=also, events=events)


def change(dispute: Dispute, status: DisputeStatus, *, at: int) -> Change[Dispute]:
    """Move a dispute on.

    Raises:
        ApiError: 400 when it cannot become that.
    """
    if status not in _NEXT[dispute.status]:
        raise invalid(f"A dispute that is {dispute.status} does not become {status}.", param="status")
    changed = replace(dispute, status=status)
    also: list[EventType] = []
    if status is DisputeStatus.NEEDS_RESPONSE:
        changed = _with_funds_withdrawn(changed, at=at)
        also.append(EventType.DISPUTE_FUNDS_WITHDRAWN)
    if status is DisputeStatus.WON:
        changed = replace(_with_movement(changed, changed.amount, at=at), is_charge_refundable=True)
        also.append(EventType.DISPUTE_FUNDS_REINSTATED)
    if not _NEXT[status]:
        also.append(EventType.DISPUTE_CLOSED)
    return Change(subject=changed, events=tuple((sent, changed) for sent in (EventType.DISPUTE_UPDATED, *also)))


def _with_funds_withdrawn(dispute: Dispute, *, at: int) -> Dispute:
    return replace(_with_movement(dispute, -dispute.amount, at=at), is_charge_refundable=False)


def _with_movement(dispute: Dispute, amount: int, *, at: int) -> Dispute:
    movement = BalanceTransaction(
        id=new_id("txn"),
        amount=amount,
        net=amount,
        currency=dispute.currency,
        created=at,
        available_on=at,
        source=dispute.id,
    )
    return replace(dispute, balance_transactions=[*dispute.balance_transactions, movement])
