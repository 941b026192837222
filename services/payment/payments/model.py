"""Payments, with their refunds and disputes, and what is computed from them alone. Amounts in minor units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from runtime.caller import Caller, CallerRole
from runtime.rows import Value
from services.payment.stripe.model import FailedCharge
from services.payment.tables import DisputeColumns, PaymentColumns, RefundColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayment:
    """What a payment is opened for."""

    id: str
    order_id: str
    user_id: str
    amount: int
    currency: str
    payment_method: str | None


class Refund(Value, RefundColumns):
    """Money of a payment that is given back, or was to be."""

    @property
    def is_over(self) -> bool:
        """Whether it succeeded, and the order and the stock know; or whether it failed."""
        return self.status.has_failed or not self.saga_open

    @property
    def is_by_people(self) -> bool:
        """Whether somebody decided to give money back, here or in Stripe's dashboard, rather than it was due."""
        return self.origin is not RefundOrigin.VOID

    @property
    def requester(self) -> Caller | None:
        """Who asked for it here; None where nobody did."""
        if self.requested_by_operator is not None:
            return Caller(CallerRole.OPERATOR, self.requested_by_operator)
        role = CallerRole.SUPPORT if self.requested_by_support else CallerRole.ADMIN
        return None if self.requested_by is None else Caller(role, self.requested_by)

    @property
    def actor(self) -> str:
        """Who asked for it, see `runtime.caller.Caller.actor`; empty where nobody did."""
        return "" if self.requester is None else self.requester.actor

    def change(self, **changes: Any) -> Refund:
        """The refund after a change that its saga has to follow up: its next version."""
        return self.model_copy(update={"version": self.version + 1, "saga_open": True, **changes})

    def notified(self) -> Refund:
        """The refund once its saga knows how it stands."""
        return self.model_copy(update={"notified_version": self.version})


class Dispute(Value, DisputeColumns):
    """A customer's dispute with their bank."""

    @property
    def stops_refunds(self) -> bool:
        """Whether its bank decides about the money now. An inquiry takes none, and a refund may well settle it."""
        return self.status in (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW)

    def notified(self) -> Dispute:
        """The dispute once its case knows how it stands."""
        return self.model_copy(update={"notified_version": self.version})


class Payment(Value, PaymentColumns):
    """A payment as it is stored, with all that belongs to it; a tombstone has no user.

    Attributes:
        failed_charges: ids of the charges that failed, and of the events of failed authentications: one attempt each.
        last_decline_code: Stripe's, of the last of them, as it was read.
        refunds: oldest first.
        disputes: oldest first.
    """

    failed_charges: frozenset[str] = frozenset()
    last_decline_code: str | None = None
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()

    @property
    def failed_attempts(self) -> int:
        """Failed charges and authentications, each counted once however it was seen."""
        return len(self.failed_charges)

    @property
    def is_payable(self) -> bool:
        """Whether its customer can pay it, and may: with the client secret of its intent."""
        return self.intent_id is not None and not self.closing and not self.status.is_final

    @property
    def is_untried(self) -> bool:
        """Whether nothing was charged yet, nor is about to be."""
        return self.status is PaymentStatus.REQUIRES_PAYMENT_METHOD and not self.failed_charges

    @property
    def settled_currency(self) -> str:
        """The currency of what came in, or of what is asked for."""
        return self.currency_received or self.currency

    @property
    def amount_refunded(self) -> int:
        """What is given back, as Stripe says."""
        return sum(refund.amount for refund in self.refunds if refund.status is RefundStatus.SUCCEEDED)

    @property
    def amount_refundable(self) -> int:
        """What came in and is neither given back, nor about to be, nor lost to a dispute."""
        live = sum(refund.amount for refund in self.refunds if refund.status.is_live)
        lost = sum(dispute.withdrawn for dispute in self.disputes)
        return max(self.amount_received - live - lost, 0)

    @property
    def amount_outstanding(self) -> int:
        """What came in for an order that ended without being paid, and has no refund yet.

        A refund that was due and failed stands for its money until a person has dealt with it, and afterwards too.
        """
        if not self.voided or self.status is not PaymentStatus.SUCCEEDED:
            return 0
        covered = sum(
            refund.amount
            for refund in self.refunds
            if refund.status.is_live
            or (refund.origin is RefundOrigin.VOID and refund.status is not RefundStatus.REPLACED)
        )
        return max(self.amount_received - covered, 0)

    def count_restocked(self, product_id: str) -> int:
        """Units of a product that its refunds have put back into stock, or may still."""
        restocks = {
            refund.restock_id: refund.restock for refund in self.refunds if refund.status is not RefundStatus.RESOLVED
        }
        return sum(line.quantity for lines in restocks.values() for line in lines if line.product_id == product_id)

    @property
    def open_dispute(self) -> Dispute | None:
        """A dispute that stops refunds."""
        return next((dispute for dispute in self.disputes if dispute.stops_refunds), None)

    def get_refund(self, refund_id: str) -> Refund:
        """One of its refunds."""
        return next(refund for refund in self.refunds if refund.id == refund_id)

    def get_dispute(self, dispute_id: str) -> Dispute:
        """One of its disputes."""
        return next(dispute for dispute in self.disputes if dispute.id == dispute_id)

    def change(self, **changes: Any) -> Payment:
        """The payment after a change."""
        return self.model_copy(update=changes)

    def with_refund(self, changed: Refund) -> Payment:
        """With one of its refunds as it is now, or with one more."""
        kept = tuple(changed if refund.id == changed.id else refund for refund in self.refunds)
        return self.change(refunds=kept if changed in kept else (*kept, changed))

    def with_dispute(self, changed: Dispute) -> Payment:
        """With one of its disputes as it is now, or with one more."""
        kept = tuple(changed if dispute.id == changed.id else dispute for dispute in self.disputes)
        return self.change(disputes=kept if changed in kept else (*kept, changed))


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A refund or dispute from which something still follows, as it was when it was claimed."""

    id: str
    order_id: str
    version: int
    notified_version: int
    age: timedelta

    @property
    def changed(self) -> bool:
        """Whether its workflow does not know of its last change."""
        return self.notified_version < self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """A refund or dispute from which something still follows, and the order that it is of."""

    id: str
    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentUpdate:
    """What of a change is published: the type of its event, and the refund or dispute that this is about."""

    type: str
    refund: Refund | None = None
    dispute: Dispute | None = None


STATUS_UPDATED = PaymentUpdate(type="payment.status_updated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a payment, and what of that is published."""

    payment: Payment
    updates: Sequence[PaymentUpdate] = ()
    attempts: Sequence[FailedCharge] = ()
