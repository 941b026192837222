"""The one refund of a voided payment: all that was received goes back."""

from __future__ import annotations

from services.payment.errors import RefundFailed, RefundPending
from services.payment.ledger import PaymentLedger
from services.payment.repository import Payment, Refund
from services.payment.stripe_client import StripeClient
from services.payment.stripe_port import MadeRefund, StripeKeySpent, StripeRefused
from services.payment.tables import RefundStatus


class Refunds:
    """Refunds at Stripe, and what is written down about them."""

    def __init__(self, ledger: PaymentLedger, stripe: StripeClient) -> None:
        self._ledger = ledger
        self._stripe = stripe

    async def carry_out(self, payment: Payment) -> None:
        """Carry out the refund that the payment owes; returns once Stripe says that it succeeded. Repeats are harmless.

        Raises:
            RefundFailed: Stripe refused it. After a refused request a repeat asks once more; a refund that failed or
                was canceled stays so.
            RefundPending: Stripe has it and is not done; repeat.
            StripeUnavailable: repeat.
        """
        if not payment.voided:
            return
        refund = await self._ledger.find_refund(payment)
        if refund is not None and refund.status is not RefundStatus.SUCCEEDED:
            await self._advance(payment, refund)

    async def recheck(self, payment: Payment) -> None:
        """As `carry_out`, also for a refund that succeeded: Stripe can take that back."""
        refund = await self._ledger.find_refund(payment)
        if refund is not None:
            await self._advance(payment, refund)

    async def _advance(self, payment: Payment, refund: Refund) -> None:
        if payment.intent_id is None:
            raise ValueError(f"payment {payment.id} owes a refund but has no intent")
        # Looking first makes any number of keys safe: none is used while Stripe has a refund for our id.
        made = await self._stripe.find_refund(refund_id=refund.id, intent_id=payment.intent_id)
        if made is None:
            made = await self._create(payment, refund, intent_id=payment.intent_id)
        refund = await self._ledger.settle_refund(payment, refund, made)
        if refund.status is RefundStatus.PENDING:
            raise RefundPending(f"Stripe has refund {refund.id} and is not done with it")
        if refund.status is not RefundStatus.SUCCEEDED:
            raise RefundFailed(payment.order_id, refund.failure_reason or refund.status.lower())

    async def _create(self, payment: Payment, refund: Refund, *, intent_id: str) -> MadeRefund:
        try:
            return await self._stripe.create_refund(
                refund_id=refund.id,
                order_id=payment.order_id,
                intent_id=intent_id,
                amount=refund.amount,
                currency=refund.currency,
                key=f"{refund.id}:{refund.generation}",
            )
        except StripeKeySpent:
            await self._ledger.next_refund_generation(payment, refund, reason=None)
            raise
        except StripeRefused as refused:
            await self._ledger.next_refund_generation(payment, refund, reason=str(refused))
            raise RefundFailed(payment.order_id, str(refused)) from refused
