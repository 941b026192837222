"""What must hold between the payment service's rows and Stripe's objects (design §7, 1, 2 and 7)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.payments import PaymentStatus
from services.payment.errors import PaymentNotFound
from services.payment.model import Payment
from tests.payment_rig import Rig

_STATUS_AT_STRIPE = {
    "requires_payment_method": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_confirmation": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "succeeded": PaymentStatus.SUCCEEDED,
    "canceled": PaymentStatus.CANCELLED,
}

_OBJECTS = """
    SELECT body FROM objects
     WHERE noun = :noun AND json_extract(CAST(body AS TEXT), '$.metadata.order_id') = :order_id ORDER BY seq
"""


@dataclass(frozen=True, kw_only=True)
class Books:
    """Both sides of one order's payment."""

    payment: Payment | None
    refund: dict[str, Any] | None
    published: list[tuple[str, int]]
    intents: list[dict[str, Any]]
    charges: list[dict[str, Any]]
    refunds: list[dict[str, Any]]

    @property
    def paid(self) -> list[dict[str, Any]]:
        """Charges that took money."""
        return [charge for charge in self.charges if charge["status"] == "succeeded"]

    @property
    def kept(self) -> int:
        """The customer's money that Stripe has and did not give back, minor units."""
        taken: int = sum(charge["amount"] for charge in self.paid)
        given_back: int = sum(refund["amount"] for refund in self.refunds)
        return taken - given_back

    def check_always(self) -> None:
        """What holds at any moment, whatever is under way: nothing is made twice, and our rows run ahead of nothing."""
        assert len(self.intents) <= 1
        assert len(self.paid) <= 1
        assert len(self.refunds) <= len(self.paid)
        assert [seq for _, seq in self.published] == list(range(1, len(self.published) + 1))
        if self.payment is None:
            assert not self.intents
            return
        assert len(self.published) == self.payment.seq
        if self.payment.intent_id is not None:
            assert [intent["id"] for intent in self.intents] == [self.payment.intent_id]
        if self.payment.status.is_final and self.payment.intent_id is not None:
            assert self.status_at_stripe is self.payment.status
        assert self.payment.failed_attempts <= len(self.charges) - len(self.paid)
        if self.refunds:
            assert self.payment.voided

    def check_settled(self) -> None:
        """What holds once nothing is under way: both sides say the same."""
        self.check_always()
        payment = self.payment
        assert payment is not None
        assert payment.status is (self.status_at_stripe or PaymentStatus.CANCELLED)
        assert payment.amount_received == sum(intent["amount_received"] for intent in self.intents)
        assert payment.amount_received == sum(charge["amount"] for charge in self.paid)
        assert payment.amount_refunded == sum(refund["amount"] for refund in self.refunds)
        if payment.status is not PaymentStatus.SUCCEEDED:  # an attempt before one that succeeded is of no interest
            assert payment.failed_attempts == len(self.charges)
        if payment.closing:
            assert payment.status.is_final
        if payment.voided:
            assert self.kept == 0
        told = [kind for kind, _ in self.published]
        assert told.count("payment.refunded") == len(self.refunds)
        if self.refund is None:
            assert not self.refunds
        else:
            assert [(self.refund["stripe_refund_id"], self.refund["status"])] == [
                (refund["id"], refund["status"].upper()) for refund in self.refunds
            ]

    @property
    def status_at_stripe(self) -> PaymentStatus | None:
        """The intent's status in our words; None without one."""
        return _STATUS_AT_STRIPE[self.intents[0]["status"]] if self.intents else None


async def read_books(rig: Rig, order_id: str) -> Books:
    """Both sides as they are now; Stripe's from its own file."""
    try:
        payment = await rig.service.check(order_id, refresh=False)
    except PaymentNotFound:
        payment = None
    refunds, published = [], []
    if payment is not None:
        refunds = await rig.rows("SELECT * FROM refunds WHERE payment_id = %(id)s", id=payment.id)
        ids = [f"payment:{payment.id}:{seq}" for seq in range(payment.seq + 2)]
        published = await rig.rows("SELECT ce_type, ce_seq FROM outbox WHERE ce_id = ANY(%(ids)s) ORDER BY id", ids=ids)
    with closing(sqlite3.connect(rig.folder / "stripe.sqlite3")) as stripe:

        def find(noun: str) -> list[dict[str, Any]]:
            found = stripe.execute(_OBJECTS, {"noun": noun, "order_id": order_id})
            return [msgspec.json.decode(body) for (body,) in found]

        return Books(
            payment=payment,
            refund=refunds[0] if refunds else None,
            published=[(row["ce_type"], row["ce_seq"]) for row in published],
            intents=find("payment_intent"),
            charges=find("charge"),
            refunds=find("refund"),
        )
