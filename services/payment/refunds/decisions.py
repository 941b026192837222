"""What becomes of a payment by its refunds: from how it was read to its change, without a database or Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from runtime.refusal import InvalidArgument
from services.payment.payments.model import Change, Payment, PaymentUpdate, Refund
from services.payment.refunds.errors import (
    PaymentDisputed,
    PaymentNotRefundable,
    RefundExceedsPayment,
    RefundNeedsAdmin,
    RestockExceedsSale,
)
from services.payment.refunds.model import NewRefund
from services.payment.stripe.amounts import to_stripe
from services.payment.stripe.errors import PaymentRejected
from services.payment.stripe.model import StripeRefund

_DEALT_WITH: Final = frozenset({RefundStatus.RESOLVED, RefundStatus.REPLACED})
REFUNDED_EVENT: Final = "payment.refunded"
REFUND_FAILED_EVENT: Final = "payment.refund_failed"
_EVENTS: Final = {
    RefundStatus.SUCCEEDED: REFUNDED_EVENT,
    RefundStatus.FAILED: REFUND_FAILED_EVENT,
    RefundStatus.CANCELLED: REFUND_FAILED_EVENT,
}


def request_refund(payment: Payment, new: NewRefund, *, refund_id: str, at: datetime, support_limit: int) -> Change:
    """Reserve what somebody wants to give back; members of support no more than the limit, over all their refunds.

    Raises:
        PaymentNotRefundable: nothing came in, or it goes back already.
        PaymentDisputed: the customer's bank decides about the money.
        RefundExceedsPayment: less than that is left.
        RefundNeedsAdmin: it is more than support may give back.
        RestockExceedsSale: fewer units can come back.
        InvalidArgument: Stripe cannot express the amount.
    """
    check_refundable(payment)
    amount = payment.amount_refundable if new.amount is None else new.amount
    if not 0 < amount <= payment.amount_refundable:
        raise RefundExceedsPayment(payment, new.amount)
    if new.by_support:
        check_support_limit(payment, amount, limit=support_limit)
    try:
        to_stripe(amount, payment.settled_currency)
    except PaymentRejected as rejected:
        raise InvalidArgument.of({"amount": rejected.message}) from None
    _check_restock(payment, new)
    refund = Refund(
        id=refund_id,
        origin=RefundOrigin.ADMIN,
        amount=amount,
        currency=payment.settled_currency,
        status=RefundStatus.REQUESTED,
        created_at=at,
        restock=new.restock,
        restock_id=refund_id,
        requested_by=new.requested_by if new.operator is None else None,
        requested_by_support=new.by_support,
        requested_by_operator=new.operator,
        note=new.note,
    )
    return Change(payment=payment.with_refund(refund))


def check_refundable(payment: Payment) -> None:
    """Money came in for an order, and people may give it back.

    Raises:
        PaymentNotRefundable: nothing came in, or it goes back already.
        PaymentDisputed: the customer's bank decides about the money.
    """
    if payment.status is not PaymentStatus.SUCCEEDED:
        raise PaymentNotRefundable(payment.order_id, "nothing was paid yet")
    if not payment.amount:
        raise PaymentNotRefundable(payment.order_id, "it was free")
    if payment.voided:
        raise PaymentNotRefundable(payment.order_id, "all that was paid goes back already")
    check_undisputed(payment)


def check_undisputed(payment: Payment) -> None:
    """No money goes back while a bank decides about it.

    Raises:
        PaymentDisputed: one does.
    """
    if payment.open_dispute is not None:
        raise PaymentDisputed(payment.order_id, payment.open_dispute.id)


def check_support_limit(payment: Payment, amount: int, *, limit: int) -> None:
    """No more than the limit is given back of one payment by all members of support together, in however many parts.

    Raises:
        RefundNeedsAdmin: it would be more.
    """
    before = sum(refund.amount for refund in payment.refunds if refund.requested_by_support and refund.status.is_live)
    if before + amount > limit:
        raise RefundNeedsAdmin(payment, amount, left=max(limit - before, 0))


def follow_refunds(payment: Payment, found: Sequence[StripeRefund], *, asking: str | None = None) -> Change:
    """Follow a list of the payment's refunds; those that are not ours are adopted.

    Args:
        payment: as it was read.
        found: what Stripe says.
        asking: the refund whose saga asks, and so knows afterwards.
    """
    followed, updates = payment, list[PaymentUpdate]()
    for each in found:
        known = _find(followed, each)
        if known is not None and known.status in _DEALT_WITH:
            continue
        refund = _adopted(each) if known is None else _followed(known, each)
        if refund == known:
            continue
        followed = followed.with_refund(refund)
        if refund.status in _EVENTS and (known is None or known.status is not refund.status):
            updates.append(PaymentUpdate(type=_EVENTS[refund.status], refund=refund))
    return known_to(asking, Change(payment=followed, updates=updates))


def known_to(asking: str | None, change: Change) -> Change:
    """The change once the saga of this refund knows of it, because it gets the payment as its answer."""
    if asking is None:
        return change
    notified = change.payment.with_refund(change.payment.get_refund(asking).notified())
    return Change(payment=notified, updates=change.updates)


def fail_refund(payment: Payment, refund_id: str, *, reason: str) -> Change | None:
    """Stripe does not make a refund that was asked for; its saga, which asks, knows afterwards.

    One that was due, and for which less is left because other refunds gave the money back, is replaced by what is still
    due, if anything.
    """
    refund = payment.get_refund(refund_id)
    if refund.status is not RefundStatus.REQUESTED:
        return None
    others = sum(other.amount for other in payment.refunds if other.status.is_live and other.id != refund_id)
    if refund.origin is RefundOrigin.VOID and others and refund.amount > payment.amount_received - others:
        replaced = refund.change(status=RefundStatus.REPLACED, failure_reason=reason)
        return known_to(refund_id, Change(payment=payment.with_refund(replaced)))
    failed = refund.change(status=RefundStatus.FAILED, failure_reason=reason)
    updates = [PaymentUpdate(type=REFUND_FAILED_EVENT, refund=failed)]
    return known_to(refund_id, Change(payment=payment.with_refund(failed), updates=updates))


def next_refund_generation(payment: Payment, refund_id: str, *, spent: int) -> Change | None:
    """Go on to the refund's next idempotency key, unless somebody did so since generation `spent` was read."""
    refund = payment.get_refund(refund_id)
    if refund.generation != spent:
        return None
    return Change(payment=payment.with_refund(refund.model_copy(update={"generation": spent + 1})))


def replace_failed_refund(payment: Payment, refund_id: str, *, at: datetime) -> Change | None:
    """Make another refund in the place of a failed one, whose saga asks; of any other nothing changes.

    Raises:
        RefundExceedsPayment: its money is given back otherwise.
        PaymentDisputed: the customer's bank decides about the money.
    """
    failed = payment.get_refund(refund_id)
    if not failed.status.has_failed:
        return None
    check_undisputed(payment)
    if failed.amount > payment.amount_refundable:
        raise RefundExceedsPayment(payment, failed.amount)
    another = Refund(
        id=new_id(),
        origin=RefundOrigin.VOID if failed.origin is RefundOrigin.VOID else RefundOrigin.ADMIN,
        amount=failed.amount,
        currency=failed.currency,
        status=RefundStatus.REQUESTED,
        created_at=at,
        restock=failed.restock,
        restock_id=failed.restock_id,
        requested_by=failed.requested_by,
        requested_by_support=failed.requested_by_support,
        requested_by_operator=failed.requested_by_operator,
        approved_by=failed.approved_by,
        note=f"in the place of refund {failed.id}",
    )
    replaced = payment.with_refund(another).with_refund(failed.change(status=RefundStatus.REPLACED))
    return known_to(refund_id, Change(payment=replaced))


def resolve_refund(payment: Payment, refund_id: str) -> Change | None:
    """A person dealt with a failed refund, whose saga asks; of any other nothing changes."""
    refund = payment.get_refund(refund_id)
    if not refund.status.has_failed:
        return None
    return known_to(refund_id, Change(payment=payment.with_refund(refund.change(status=RefundStatus.RESOLVED))))


def close_refund(payment: Payment, refund_id: str, *, version: int) -> Change | None:
    """Nothing more follows from this version of the refund; of another one nothing changes."""
    refund = payment.get_refund(refund_id)
    if refund.version != version or not refund.saga_open:
        return None
    return Change(payment=payment.with_refund(refund.model_copy(update={"saga_open": False})))


def _check_restock(payment: Payment, new: NewRefund) -> None:
    ordered = {line.product_id: line.quantity for line in new.ordered}
    for line in new.restock:
        left = ordered.get(line.product_id, 0) - payment.count_restocked(line.product_id)
        if line.quantity > left:
            raise RestockExceedsSale(payment.order_id, line, left=left)


def _find(payment: Payment, found: StripeRefund) -> Refund | None:
    for refund in payment.refunds:
        if found.id == refund.stripe_refund_id or (refund.stripe_refund_id is None and found.refund_id == refund.id):
            return refund
    return None


def _followed(refund: Refund, found: StripeRefund) -> Refund:
    changes = {"status": found.status, "stripe_refund_id": found.id, "failure_reason": found.failure_reason}
    return refund if refund.model_copy(update=changes) == refund else refund.change(**changes)


def _adopted(found: StripeRefund) -> Refund:
    refund_id = new_id()
    return Refund(
        id=refund_id,
        restock_id=refund_id,
        origin=RefundOrigin.STRIPE,
        amount=found.amount,
        currency=found.currency,
        status=found.status,
        created_at=found.created_at,
        stripe_refund_id=found.id,
        failure_reason=found.failure_reason,
        note="made at Stripe's side",
    )
