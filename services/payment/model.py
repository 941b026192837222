"""What the payment service speaks of: payments, their refunds and disputes. Amounts in minor units of a currency."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from domain.orders import OrderLine
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from runtime.fingerprint import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayment:
    """What a payment is opened for. A tombstone has no user."""

    id: str
    order_id: str
    user_id: str | None
    amount: int
    currency: str
    payment_method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money of a payment that is given back, or was to be."""

    id: str
    origin: RefundOrigin
    amount: int
    currency: str
    status: RefundStatus
    created_at: datetime
    stripe_refund_id: str | None = None
    failure_reason: str | None = None
    generation: int = 0
    restock: tuple[OrderLine, ...] = ()
    restock_id: str
    """Under which the pieces are put back, once: a refund in the place of another has the other's."""
    requested_by: str | None = None
    why: str = ""
    version: int = 1
    saga_open: bool = True

    def change(self, **changes: Any) -> Refund:
        """What becomes of it, as its next version, which its saga has to follow up."""
        return replace(self, version=self.version + 1, saga_open=True, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A customer's dispute with their bank; `withdrawn` is what Stripe holds or took because of it."""

    id: str
    status: DisputeStatus
    reason: str
    amount: int
    currency: str
    withdrawn: int
    respond_by: datetime | None
    created_at: datetime
    version: int = 1
    saga_open: bool = True

    @property
    def stops_refunds(self) -> bool:
        """Whether its bank decides about the money now. An inquiry takes none, and a refund may well settle it."""
        return self.status in (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment as it is stored, with all that belongs to it."""

    id: str
    order_id: str
    user_id: str | None
    amount: int
    currency: str
    payment_method: str | None
    status: PaymentStatus
    intent_id: str | None
    amount_received: int
    currency_received: str | None
    closing: bool
    voided: bool
    generation: int
    generation_at: datetime
    seq: int
    version: int
    created_at: datetime
    failed_charges: frozenset[str] = frozenset()
    """Ids of the charges that failed: one attempt each."""
    refunds: tuple[Refund, ...] = ()
    """Oldest first."""
    disputes: tuple[Dispute, ...] = ()
    """Oldest first."""

    @property
    def failed_attempts(self) -> int:
        """Failed charges, each counted once however it was seen."""
        return len(self.failed_charges)

    @property
    def money(self) -> str:
        """The currency of what came in, or of what is asked for."""
        return self.currency_received or self.currency

    @property
    def amount_refunded(self) -> int:
        """What is given back, by Stripe's word."""
        return sum(refund.amount for refund in self.refunds if refund.status is RefundStatus.SUCCEEDED)

    @property
    def amount_refundable(self) -> int:
        """What came in and is neither given back, nor about to be, nor lost to a dispute."""
        live = sum(refund.amount for refund in self.refunds if refund.status.is_live)
        lost = sum(dispute.withdrawn for dispute in self.disputes)
        return max(self.amount_received - live - lost, 0)

    @property
    def amount_unowed(self) -> int:
        """What came in for an order that ended without being paid, and no refund stands for yet.

        One that was owed and failed stands for its money until a person has dealt with it, and afterwards too.
        """
        if not self.voided or self.status is not PaymentStatus.SUCCEEDED:
            return 0
        owed = sum(
            refund.amount
            for refund in self.refunds
            if refund.status.is_live
            or (refund.origin is RefundOrigin.VOID and refund.status is not RefundStatus.REPLACED)
        )
        return max(self.amount_received - owed, 0)

    def count_restocked(self, product_id: str) -> int:
        """Pieces of a product that its refunds have put back into stock, or may still."""
        restocks = {
            refund.restock_id: refund.restock for refund in self.refunds if refund.status is not RefundStatus.RESOLVED
        }
        return sum(line.quantity for lines in restocks.values() for line in lines if line.product_id == product_id)

    @property
    def has_follow_ups(self) -> bool:
        """Whether a workflow has still to do for one of its refunds or disputes."""
        return any(refund.saga_open for refund in self.refunds) or any(dispute.saga_open for dispute in self.disputes)

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

    def with_refund(self, changed: Refund) -> Payment:
        """With one of its refunds as it is now, or with one more."""
        kept = tuple(changed if refund.id == changed.id else refund for refund in self.refunds)
        return replace(self, refunds=kept if changed in kept else (*kept, changed))

    def with_dispute(self, changed: Dispute) -> Payment:
        """With one of its disputes as it is now, or with one more."""
        kept = tuple(changed if dispute.id == changed.id else dispute for dispute in self.disputes)
        return replace(self, disputes=kept if changed in kept else (*kept, changed))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefund:
    """What an admin asks for; without an amount, all that is left."""

    order_id: str
    amount: int | None
    restock: tuple[OrderLine, ...]
    ordered: tuple[OrderLine, ...]
    """What the order has of each product."""
    requested_by: str
    why: str

    @property
    def fingerprint(self) -> str:
        """What tells it from another request, see `runtime.fingerprint`."""
        return fingerprint(asdict(replace(self, ordered=())))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """The refund that an idempotency key stands for."""

    refund_id: str
    request_hash: str
    accepted_only: bool
