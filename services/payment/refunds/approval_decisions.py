"""Which refunds want a second person, and whose approval is one: without a database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from services.payment.payments.model import Change, Payment, Refund
from services.payment.refunds.decisions import check_refundable
from services.payment.refunds.errors import RefundExceedsPayment, RefundNeedsApproval, RefundNeedsNoApproval
from services.payment.refunds.model import NewApproval, RefundApproval

_VALID_FOR: Final = timedelta(hours=24)


def approve_refund(payment: Payment, new: NewApproval, *, approval_id: str, at: datetime, limit: int) -> RefundApproval:
    """Let somebody else give back so much of a payment, of which one person may give back the limit.

    Raises:
        PaymentNotRefundable: nothing came in, or it goes back already.
        PaymentDisputed: the customer's bank decides about the money.
        RefundExceedsPayment: less than that is left.
        RefundNeedsNoApproval: one person may give so much back.
    """
    check_refundable(payment)
    if new.amount > payment.amount_refundable:
        raise RefundExceedsPayment(payment, new.amount)
    if not limit or _given_back(payment) + new.amount <= limit:
        raise RefundNeedsNoApproval(payment, new.amount)
    return RefundApproval(
        id=approval_id,
        payment_id=payment.id,
        amount=new.amount,
        approved_by=new.approver.actor,
        approved_by_key=new.approver.key,
        note=new.note,
        created_at=at,
        expires_at=at + _VALID_FOR,
    )


def find_unapproved(before: Payment, change: Change, *, limit: int) -> Refund | None:
    """The refund that a change makes, if it wants a second person: all that people give back is above the limit.

    What is due goes back whatever the limit, and a refund in the place of one that was approved is approved, too.
    """
    if not limit or _given_back(change.payment) <= limit:
        return None
    known = {refund.id for refund in before.refunds}
    for refund in change.payment.refunds:
        if refund.id not in known and refund.is_by_people and refund.approved_by is None:
            return refund
    return None


def choose_approval(
    payment: Payment, refund: Refund, approvals: Sequence[RefundApproval], *, at: datetime, limit: int
) -> RefundApproval:
    """Which of the approvals that were not used yet a refund uses: the smallest that is large enough.

    Args:
        payment: with the refund.
        refund: wants one, see `find_unapproved`.
        approvals: of the payment.
        at: this moment.
        limit: what people may give back without.

    Raises:
        RefundNeedsApproval: none of somebody else's is large enough and still valid.
    """
    fitting = [each for each in approvals if each.amount >= refund.amount and each.expires_at > at]
    asks = None if refund.requester is None else refund.requester.key
    of_others = [each for each in fitting if each.approved_by_key != asks]
    if not of_others:
        left = max(limit - _given_back(payment) + refund.amount, 0)
        by_requester = fitting[0].approved_by if fitting else None
        raise RefundNeedsApproval(payment, refund.amount, left=left, by_requester=by_requester)
    return min(of_others, key=lambda each: (each.amount, each.expires_at, each.id))


def with_approval(change: Change, refund: Refund, approval: RefundApproval) -> Change:
    """The change that makes a refund, which keeps who approved it."""
    approved = refund.model_copy(update={"approved_by": approval.approved_by})
    return Change(payment=change.payment.with_refund(approved), updates=change.updates)


def _given_back(payment: Payment) -> int:
    """What people gave back of the payment, or are about to, minor units; in Stripe's dashboard, too."""
    return sum(refund.amount for refund in payment.refunds if refund.is_by_people and refund.status.is_live)
