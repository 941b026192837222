"""Disputes: each method carries out what a customer or a bank does."""

from __future__ import annotations

from sandbox.stripe.disputes import Dispute, DisputeReason, DisputeStatus
from sandbox.stripe.events import EventRequest
from sandbox.stripe.ledger.journal import Done, Journal
from sandbox.stripe.objects import Charge, Refund, RefundFailure, RefundStatus
from sandbox.stripe.rules import disputing, refunding
from sandbox.stripe.rules.changes import Change


class DisputeLedger:
    """The disputes of one account."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def open(
        self, charge_id: str, status: DisputeStatus, reason: DisputeReason, amount: int | None, cause: EventRequest
    ) -> Done:
        """Dispute a charge, as its customer does with their bank."""
        charge = self._journal.get(Charge, charge_id)
        change = disputing.dispute(charge, status=status, reason=reason, amount=amount, at=self._journal.now())
        return self._journal.apply(self._charged_back(change, charge), cause)

    def change(self, dispute_id: str, status: DisputeStatus, cause: EventRequest) -> Done:
        """Move a dispute on, as a bank does."""
        dispute = self._journal.get(Dispute, dispute_id)
        change = disputing.change(dispute, status, at=self._journal.now())
        return self._journal.apply(self._charged_back(change, self._journal.get(Charge, dispute.charge)), cause)

    def _charged_back(self, change: Change[Dispute], charge: Charge) -> Change[Dispute]:
        """Refunds under way do not outlive a chargeback: the bank has the money already."""
        if not change.subject.is_charge_refundable:
            for refund in self._journal.all_of(Refund, charge):
                if refunding.under_way([refund]):
                    failure = RefundFailure.CHARGE_FOR_PENDING_REFUND_DISPUTED
                    self._journal.drop_plan(refund.id)
                    change = change.followed_by(refunding.change(refund, charge, RefundStatus.FAILED, failure))
        return change
