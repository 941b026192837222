"""Disputes at Stripe, and what is written down about them. They are answered in Stripe's dashboard, not here."""

from __future__ import annotations

from services.payment.dispute_ledger import DisputeLedger
from services.payment.ledger import PaymentLedger
from services.payment.model import Payment
from services.payment.stripe_client import StripeClient


class Disputes:
    """Disputes as Stripe has them."""

    def __init__(self, payments: PaymentLedger, ledger: DisputeLedger, stripe: StripeClient) -> None:
        self._payments = payments
        self._ledger = ledger
        self._stripe = stripe

    async def catch_up(self, payment: Payment) -> Payment:
        """Write down what Stripe says of every dispute of the payment.

        Raises:
            StripeUnavailable: repeat.
        """
        while payment.intent_id is not None:
            found = await self._stripe.list_disputes(payment.intent_id)
            applied = await self._ledger.apply(payment, found)
            if applied is not None:
                return applied
            payment = await self._payments.get(payment.order_id)
        return payment
