"""Giving money back at Stripe. Money leaves only here: a refund is looked for before any key is used, and made once."""

from __future__ import annotations

from domain.refunds import RefundStatus
from services.payment.disputes import Disputes
from services.payment.errors import PaymentDisputed
from services.payment.ledger import PaymentLedger
from services.payment.model import Payment, Refund
from services.payment.refund_ledger import RefundLedger
from services.payment.stripe_client import StripeClient
from services.payment.stripe_port import StripeChargeDisputed, StripeKeySpent, StripeRefused


class Refunds:
    """Refunds at Stripe, and what is written down about them."""

    def __init__(self, payments: PaymentLedger, ledger: RefundLedger, disputes: Disputes, stripe: StripeClient) -> None:
        self._payments = payments
        self._ledger = ledger
        self._disputes = disputes
        self._stripe = stripe

    async def catch_up(self, payment: Payment) -> Payment:
        """Write down what Stripe says of every refund of the payment, also of those that were made at its side.

        Raises:
            StripeUnavailable: repeat.
        """
        while payment.intent_id is not None:
            made = await self._stripe.list_refunds(payment.intent_id)
            applied = await self._ledger.apply(payment, made)
            if applied is not None:
                return applied
            payment = await self._payments.get(payment.order_id)
        return payment

    async def carry_out(self, refund_id: str) -> Payment:
        """Ask Stripe for a refund unless it has it; the payment as it is then. Repeats are harmless.

        A refund that Stripe refuses is FAILED: it needs a person, whom its saga calls.

        Raises:
            RefundNotFound: there is no such refund.
            PaymentDisputed: the customer's bank decides about the money.
            StripeUnavailable: repeat.
        """
        # Looking first makes any number of keys safe: none is used while Stripe has a refund for our id.
        payment = await self.catch_up(await self._ledger.get(refund_id))
        refund = payment.get_refund(refund_id)
        if refund.status is not RefundStatus.REQUESTED:
            return payment
        if payment.open_dispute is not None:
            raise PaymentDisputed(payment.order_id, payment.open_dispute.id)
        return await self._create(payment, refund)

    async def _create(self, payment: Payment, refund: Refund) -> Payment:
        if payment.intent_id is None:
            raise ValueError(f"payment {payment.id} has a refund but no intent")
        try:
            made = await self._stripe.create_refund(
                refund_id=refund.id,
                order_id=payment.order_id,
                intent_id=payment.intent_id,
                amount=refund.amount,
                currency=refund.currency,
                key=f"{refund.id}:{refund.generation}",
            )
        except StripeKeySpent:
            await self._ledger.next_generation(refund)
            raise
        except StripeRefused as refused:
            return await self._follow_refusal(payment, refund, refused)
        return await self._ledger.apply(payment, [made]) or await self.catch_up(payment)

    async def _follow_refusal(self, payment: Payment, refund: Refund, refused: StripeRefused) -> Payment:
        """Find out why Stripe refuses: a dispute or a refund at its side may be news that has not come here yet."""
        if isinstance(refused, StripeChargeDisputed):
            payment = await self._disputes.catch_up(payment)
            if payment.open_dispute is not None:
                raise PaymentDisputed(payment.order_id, payment.open_dispute.id) from refused
        payment = await self.catch_up(payment)
        if payment.get_refund(refund.id).status is not RefundStatus.REQUESTED:
            return payment
        return await self._ledger.fail(refund.id, reason=str(refused))
