"""What must hold between the payment service's rows and Stripe's objects (design §7, 1, 2 and 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from sandbox.stripe.disputes import Dispute
from sandbox.stripe.objects import Charge, Intent, Refund
from sandbox.stripe.resources import Resource
from services.payment.payments.errors import PaymentNotFound
from services.payment.payments.model import Payment
from tests.support.payment_harness import PaymentHarness

_STATUS_AT_STRIPE = {
    "requires_payment_method": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_confirmation": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "succeeded": PaymentStatus.SUCCEEDED,
    "canceled": PaymentStatus.CANCELLED,
}

_UNDER_WAY = frozenset({"pending", "requires_action"})
_DEALT_WITH = frozenset({RefundStatus.RESOLVED, RefundStatus.REPLACED})


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Both sides of one order's payment."""

    payment: Payment | None
    published: list[tuple[str, int]]
    intents: list[dict[str, Any]]
    charges: list[dict[str, Any]]
    refunds: list[dict[str, Any]]
    disputes: list[dict[str, Any]]

    @property
    def paid(self) -> list[dict[str, Any]]:
        """Charges that took money."""
        return [charge for charge in self.charges if charge["status"] == "succeeded"]

    @property
    def kept(self) -> int:
        """The customer's money that Stripe has and neither gave back nor is giving back, minor units."""
        taken: int = sum(charge["amount"] for charge in self.paid)
        going_back: int = sum(
            refund["amount"] for refund in self.refunds if refund["status"] in _UNDER_WAY | {"succeeded"}
        )
        return taken - going_back - self.held

    @property
    def held(self) -> int:
        """What disputes hold or took, minor units."""
        moved: int = sum(move["amount"] for dispute in self.disputes for move in dispute["balance_transactions"])
        return -moved

    @property
    def is_ours_alone(self) -> bool:
        """Whether nobody but us moved money back: neither a person in the dashboard nor the customer's bank."""
        return not self.disputes and all("refund_id" in refund["metadata"] for refund in self.refunds)

    def check_always(self) -> None:
        """What holds at any moment, whatever is under way: nothing is made twice, and our rows run ahead of nothing."""
        assert len(self.intents) <= 1
        assert len(self.paid) <= 1
        assert self.kept >= 0 or self.disputes
        assert [seq for _, seq in self.published] == list(range(1, len(self.published) + 1))
        if self.payment is None:
            assert not self.intents
            return
        assert len(self.published) == self.payment.seq
        if self.payment.intent_id is not None:
            assert [intent["id"] for intent in self.intents] == [self.payment.intent_id]
        if self.payment.status.is_final and self.payment.intent_id is not None:
            assert self.status_at_stripe is self.payment.status
        assert self._count_failed_charges(self.payment) <= len(self.charges) - len(self.paid)
        self._check_refunds(self.payment)

    @staticmethod
    def _count_failed_charges(payment: Payment) -> int:
        """Attempts that have a charge; the others are authentications that failed, told by events alone."""
        return sum(not attempt.startswith("evt_") for attempt in payment.failed_charges)

    def _check_refunds(self, payment: Payment) -> None:
        """No refund is made twice, nor without a row that was there before; and no more is given than came in."""
        made_for = [refund["metadata"]["refund_id"] for refund in self.refunds if "refund_id" in refund["metadata"]]
        assert len(set(made_for)) == len(made_for)
        assert set(made_for) <= {refund.id for refund in payment.refunds}
        known = [refund.stripe_refund_id for refund in payment.refunds if refund.stripe_refund_id is not None]
        assert len(set(known)) == len(known)
        assert set(known) <= {refund["id"] for refund in self.refunds}
        live = sum(refund.amount for refund in payment.refunds if refund.status.is_live)
        unasked = sum(refund.amount for refund in payment.refunds if refund.status is RefundStatus.REQUESTED)
        assert live - unasked <= payment.amount_received
        if self.is_ours_alone:
            assert live <= payment.amount_received
        if not payment.voided:
            assert all(refund.origin is not RefundOrigin.VOID for refund in payment.refunds)
        elif payment.status is PaymentStatus.SUCCEEDED:
            assert payment.amount_outstanding == 0

    def check_settled(self) -> None:
        """What holds once nothing is under way: both sides say the same."""
        self.check_always()
        payment = self.payment
        assert payment is not None
        assert payment.status is (self.status_at_stripe or PaymentStatus.CANCELLED)
        assert payment.amount_received == sum(intent["amount_received"] for intent in self.intents)
        assert payment.amount_received == sum(charge["amount"] for charge in self.paid)
        assert self._count_failed_charges(payment) == len(self.charges) - len(self.paid)
        if payment.closing:
            assert payment.status.is_final
        self._check_same_refunds(payment)
        self._check_same_disputes(payment)
        if payment.voided:
            self._check_given_back(payment)

    def _check_same_refunds(self, payment: Payment) -> None:
        at_stripe = {refund["id"]: refund for refund in self.refunds}
        ours = {refund.stripe_refund_id: refund for refund in payment.refunds if refund.stripe_refund_id is not None}
        assert ours.keys() == at_stripe.keys()
        for stripe_id, refund in ours.items():
            status = at_stripe[stripe_id]["status"]
            assert refund.amount == at_stripe[stripe_id]["amount"]
            if refund.status in _DEALT_WITH:
                assert status in ("failed", "canceled")
            else:
                assert refund.status is (RefundStatus.PENDING if status in _UNDER_WAY else RefundStatus(status.upper()))
        assert payment.amount_refunded == sum(
            refund["amount"] for refund in self.refunds if refund["status"] == "succeeded"
        )
        kinds = [kind for kind, _ in self.published]
        succeeded = sum(refund.status is RefundStatus.SUCCEEDED for refund in payment.refunds)
        failed = sum(refund.status.has_failed for refund in payment.refunds)
        assert succeeded <= kinds.count("payment.refunded") <= len(self.refunds)
        assert failed <= kinds.count("payment.refund_failed") <= len(payment.refunds)

    def _check_same_disputes(self, payment: Payment) -> None:
        ours = {dispute.id: (dispute.status.lower(), dispute.amount) for dispute in payment.disputes}
        assert ours == {dispute["id"]: (dispute["status"], dispute["amount"]) for dispute in self.disputes}
        assert sum(dispute.withdrawn for dispute in payment.disputes) == self.held
        assert [kind for kind, _ in self.published].count("payment.disputed") >= len(payment.disputes)

    def _check_given_back(self, payment: Payment) -> None:
        """Of a voided payment nothing is kept, but for what waits for a person or for the customer's bank."""
        needs_a_person = any(refund.status.has_failed for refund in payment.refunds)
        dealt_with = any(refund.status is RefundStatus.RESOLVED for refund in payment.refunds)
        if not (needs_a_person or dealt_with or payment.open_dispute is not None):
            assert self.kept == 0
        if payment.open_dispute is None:
            assert all(refund.status is not RefundStatus.REQUESTED for refund in payment.refunds)

    @property
    def status_at_stripe(self) -> PaymentStatus | None:
        """The intent's status in our words; None without one."""
        return _STATUS_AT_STRIPE[self.intents[0]["status"]] if self.intents else None


async def read_ledger(harness: PaymentHarness, order_id: str) -> Ledger:
    """Both sides as they are now; Stripe's from the account itself."""
    try:
        payment = await harness.service.check(order_id, refresh=False)
    except PaymentNotFound:
        payment = None
    published = []
    if payment is not None:
        ids = [f"payment:{payment.id}:{seq}" for seq in range(payment.seq + 2)]
        published = await harness.rows(
            "SELECT ce_type, ce_seq FROM outbox WHERE ce_id = ANY(%(ids)s) ORDER BY id", ids=ids
        )

    def find_of_intents(kind: type[Resource]) -> list[dict[str, Any]]:
        # What was made in the dashboard has no metadata of ours.
        return [
            msgspec.to_builtins(found)
            for intent in intents
            for found in harness.account.all(kind, list_key=intent["id"])
        ]

    intents = [
        msgspec.to_builtins(intent)
        for intent in harness.account.all(Intent)
        if intent.metadata.get("order_id") == order_id
    ]
    return Ledger(
        payment=payment,
        published=[(row["ce_type"], row["ce_seq"]) for row in published],
        intents=intents,
        charges=find_of_intents(Charge),
        refunds=find_of_intents(Refund),
        disputes=find_of_intents(Dispute),
    )


async def check_settled(harness: PaymentHarness, payment: Payment) -> None:
    """That both sides say the same of a payment; see `Ledger.check_settled`."""
    (await read_ledger(harness, payment.order_id)).check_settled()


async def published_types(harness: PaymentHarness, payment: Payment) -> list[str]:
    """The types of the payment's events, of which no number is missing."""
    published = await harness.published(payment.order_id)
    assert [seq for _, seq, _ in published] == list(range(1, len(published) + 1))
    return [event_type for event_type, _, _ in published]
