"""Shops whose services are broken in one way each, and must be caught."""

from __future__ import annotations

from contextlib import suppress

from domain.stock import ReservationStatus
from tests.doubles.payments import Payment, PaymentsDouble
from tests.doubles.shop import DoubledShop
from tests.doubles.stock import StockDouble
from tests.doubles.stripe import Intent, StripeRefuses


class PaymentsWithoutTombstone(PaymentsDouble):
    """A void of nothing leaves nothing."""

    def _bury(self, order_id: str) -> None:
        pass


class StockWithoutTombstone(StockDouble):
    """A release of nothing leaves nothing."""

    async def release(self, order_id: str) -> None:
        if order_id in self.reservations:
            await super().release(order_id)


class NoTombstone(DoubledShop):
    """What comes late takes effect."""

    payments_type = PaymentsWithoutTombstone
    stock_type = StockWithoutTombstone


class ReleasableStock(StockDouble):
    """Gives back what is sold."""

    async def release(self, order_id: str) -> None:
        known = self.reservations.get(order_id)
        if known is not None and known.status is ReservationStatus.COMMITTED:
            for product_id, quantity in known.lines.items():
                self._move(product_id, "released", on_hand=quantity)
            known.status = ReservationStatus.RELEASED
        await super().release(order_id)


class SoldIsReleased(DoubledShop):
    """A release after the commit is not refused."""

    stock_type = ReleasableStock


class RefundingPayments(PaymentsDouble):
    """The inbox refunds late money under a key of its own, beside the saga's void."""

    def follow_up(self, order_id: str) -> None:
        payment = self._get(order_id)
        self._reread(payment)
        if payment.voided and payment.amount_received and payment.intent_id is not None:
            with suppress(StripeRefuses):  # nobody looks at a flagged event
                self._stripe.refund(
                    payment.intent_id, refund_id=f"inbox-of-{payment.id}", amount=payment.amount_received
                )


class RefundedTwice(DoubledShop):
    """The saga and the payment service both give the money back."""

    payments_type = RefundingPayments


class RecountingPayments(PaymentsDouble):
    """Counts a failed charge each time that it is seen."""

    def _count_attempts(self, payment: Payment, intent: Intent) -> None:
        sights = len(payment.failed_charges)
        payment.failed_charges.update(f"{charge}-{sights}" for charge in intent.failed_charges)


class AttemptCountedTwice(DoubledShop):
    """A decline counts when it is answered, and again when its event comes."""

    payments_type = RecountingPayments
