"""What becomes of a payment by what Stripe says of its disputes, without a database or Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from domain.refunds import RefundStatus
from services.payment.payments.model import Change, Dispute, Payment, PaymentUpdate
from services.payment.stripe.model import StripeDispute


def follow_disputes(payment: Payment, found: Sequence[StripeDispute], *, asking: str | None = None) -> Change:
    """Follow a list of the payment's disputes. Refunds that waited for a bank's decision go on once there is one.

    Args:
        payment: as it was read.
        found: what Stripe says.
        asking: the dispute whose case asks, and so knows afterwards.
    """
    known = {dispute.id: dispute for dispute in payment.disputes}
    followed, updates = payment, list[PaymentUpdate]()
    for each in found:
        before = known.get(each.id)
        if before is None:
            dispute = Dispute(**asdict(each))
        else:
            dispute = before.model_copy(update=asdict(each))
            if dispute == before:
                continue
            dispute = dispute.model_copy(update={"version": before.version + 1, "saga_open": True})
        followed = followed.with_dispute(dispute)
        updates.append(PaymentUpdate(type="payment.disputed", dispute=dispute))
    if payment.open_dispute is not None and followed.open_dispute is None:
        followed = _with_waiting_refunds_changed(followed)
    if asking is not None:
        followed = followed.with_dispute(followed.get_dispute(asking).notified())
    return Change(payment=followed, updates=updates)


def close_dispute(payment: Payment, dispute_id: str, *, version: int) -> Change | None:
    """Nothing more follows from this version of the dispute; of another one nothing changes."""
    dispute = payment.get_dispute(dispute_id)
    if dispute.version != version or not dispute.saga_open:
        return None
    return Change(payment=payment.with_dispute(dispute.model_copy(update={"saga_open": False})))


def _with_waiting_refunds_changed(payment: Payment) -> Payment:
    """A new version of each refund that may have waited, so that its saga is notified.

    One that failed may have waited, too: a person wanted it replaced, which was refused as long as the bank decided.
    """
    for refund in payment.refunds:
        if refund.status is RefundStatus.REQUESTED or (refund.status.has_failed and refund.saga_open):
            payment = payment.with_refund(refund.change())
    return payment
