"""Refunds: each method carries out one command."""

from __future__ import annotations

from sandbox.stripe.commands import CreateRefund
from sandbox.stripe.disputes import Dispute
from sandbox.stripe.errors import invalid
from sandbox.stripe.events import EventRequest
from sandbox.stripe.ledger.journal import Done, Journal
from sandbox.stripe.objects import Charge, ChargeStatus, Intent, Refund, RefundFailure, RefundStatus
from sandbox.stripe.rules import disputing, refunding
from sandbox.stripe.rules.tokens import method_of
from sandbox.stripe.store import RefundChange


class RefundLedger:
    """The refunds of one account."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def create(self, command: CreateRefund, cause: EventRequest) -> Done:
        """Refund the charge named, or the one that succeeded of the intent named."""
        charge = self._charge_to_refund(command)
        disputing.check_refundable(charge, self._journal.all_of(Dispute, charge))
        details = charge.payment_method_details.details
        late = method_of(details).late_refund
        status = RefundStatus.SUCCEEDED if late is None else late.begins
        under_way = refunding.under_way(self._journal.all_of(Refund, charge))
        at = self._journal.now()
        change = refunding.refund(charge, command, status=status, under_way=under_way, at=at)
        if late is not None:
            self._journal.plan(change.subject.id, RefundChange(status=late.ends, failure=late.failure))
        return self._journal.apply(change, cause)

    def cancel(self, refund_id: str, cause: EventRequest) -> Done:
        """Cancel a refund that waits for the customer."""
        refund = self._journal.get(Refund, refund_id)
        refunding.check_cancelable(refund)
        return self.change(refund_id, RefundStatus.CANCELED, None, cause)

    def change(self, refund_id: str, status: RefundStatus, failure: RefundFailure | None, cause: EventRequest) -> Done:
        """Do to a refund what a bank or the account's dashboard does; it changes no more by itself then."""
        refund = self._journal.get(Refund, refund_id)
        change = refunding.change(refund, self._journal.get(Charge, refund.charge), status, failure)
        self._journal.drop_plan(refund_id)
        return self._journal.apply(change, cause)

    def carry_out(self, refund_id: str, planned: RefundChange) -> None:
        """Let a refund change as planned, unless something else became of it."""
        if refunding.may_become(self._journal.get(Refund, refund_id), planned.status):
            self.change(refund_id, planned.status, planned.failure, EventRequest())

    def _charge_to_refund(self, command: CreateRefund) -> Charge:
        if command.charge is not None:
            return self._journal.get(Charge, command.charge, param="charge")
        intent = self._journal.get(Intent, command.payment_intent or "", param="payment_intent")
        charge = None if intent.latest_charge is None else self._journal.get(Charge, intent.latest_charge)
        if charge is None or charge.status is not ChargeStatus.SUCCEEDED:
            raise invalid(
                f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        return charge
