"""The payment's one intent at Stripe: made once, confirmed once, re-read, cancelled. Money can be taken only here.

Every write at Stripe has a key of its own, derived from the payment and its generation, so that whatever is repeated
is carried out once. An answer that does not come leaves the same key for the caller's next attempt; an answer that
says that the key is used up makes us look first, and then go on to the next generation.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from domain.payments import PaymentStatus
from services.payment.errors import PaymentUnsettled
from services.payment.ledger import PaymentLedger
from services.payment.model import Payment
from services.payment.stripe_client import StripeClient
from services.payment.stripe_port import (
    Intent,
    StripeDeclined,
    StripeKeySpent,
    StripeRefused,
    StripeUnavailable,
    StripeUnexpectedState,
)

# Stripe may forget a key after 24 hours, and would then make a second intent for it.
_KEY_LIFE: Final = timedelta(hours=20)
# How far Stripe's clock may be behind ours when intents are sought by the time of their making.
_CLOCK_SKEW: Final = timedelta(minutes=10)
_SETTLED: Final = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.CANCELLED, PaymentStatus.PROCESSING})


class Intents:
    """Intents at Stripe, and what is written down about them."""

    def __init__(self, ledger: PaymentLedger, stripe: StripeClient) -> None:
        self._ledger = ledger
        self._stripe = stripe

    async def learn(self, payment: Payment) -> Payment:
        """Give a payment its intent: the one that an earlier attempt made, or a new one, unconfirmed.

        Raises:
            StripeRefused: Stripe makes no such intent.
            StripeUnavailable: repeat.
        """
        if payment.generation_at < datetime.now(UTC) - _KEY_LIFE:
            found = await self._find(payment)
            if found is not None:
                return await self._ledger.keep_intent(payment, found)
            payment = await self._ledger.next_generation(payment)
        try:
            intent = await self._stripe.create_intent(
                payment_id=payment.id,
                order_id=payment.order_id,
                amount=payment.amount,
                currency=payment.currency,
                key=_key(payment, "create"),
            )
        except StripeKeySpent:
            found = await self._find(payment)
            if found is None:
                await self._ledger.next_generation(payment)
                raise
            intent = found
        return await self._ledger.keep_intent(payment, intent)

    async def reread(self, payment: Payment) -> Payment:
        """The payment as Stripe has it now; one that is decided, or has no intent, as it is stored."""
        while payment.intent_id is not None and not payment.status.is_final:
            intent = await self._stripe.get_intent(payment.intent_id)
            applied = await self._apply(payment, intent)
            if applied is not None:
                return applied
            payment = await self._ledger.get(payment.order_id)
        return payment

    async def confirm(self, payment: Payment, payment_method: str) -> Payment:
        """Try to take the money. A decline is an answer; a doubtful one is re-read, never given a new intent.

        Raises:
            StripeRefused: Stripe does not take this payment method.
            StripeUnavailable: nothing seems to have happened; repeat.
        """
        intent_id = _intent_of(payment)
        try:
            intent = await self._stripe.confirm_intent(
                intent_id, payment_method=payment_method, key=_key(payment, "confirm")
            )
        except (StripeDeclined, StripeUnexpectedState):
            return await self.reread(payment)
        except StripeUnavailable as doubt:
            payment = await self.reread(payment)
            if not is_untried(payment):
                return payment
            if isinstance(doubt, StripeKeySpent):
                await self._ledger.next_generation(payment)
            raise
        return await self._apply(payment, intent) or await self.reread(payment)

    async def cancel(self, payment: Payment) -> Payment:
        """End the payment unless the money came or is on its way: SUCCEEDED, PROCESSING or CANCELLED comes back.

        Raises:
            PaymentUnsettled: it changed meanwhile; repeat.
            StripeUnavailable: repeat.
        """
        payment = await self.reread(payment)
        if payment.status in _SETTLED:
            return payment
        try:
            intent = await self._stripe.cancel_intent(_intent_of(payment), key=_key(payment, "cancel"))
        except StripeUnexpectedState:
            payment = await self.reread(payment)
        except StripeKeySpent:
            payment = await self.reread(payment)
            if payment.status not in _SETTLED:
                await self._ledger.next_generation(payment)
                raise
        else:
            payment = await self._apply(payment, intent) or await self.reread(payment)
        if payment.status not in _SETTLED:
            raise PaymentUnsettled(f"payment {payment.id} changed while it was being cancelled")
        return payment

    async def end(self, payment: Payment) -> Payment:
        """As `cancel`, also for a payment whose intent was never heard of: it is learned first, and made if need be."""
        if payment.status.is_final:
            return payment
        if payment.intent_id is None:
            try:
                payment = await self.learn(payment)
            except StripeRefused:
                return await self._ledger.cancel_unmade(payment)
        return await self.cancel(payment)

    async def _apply(self, seen: Payment, intent: Intent) -> Payment | None:
        failed = await self._stripe.list_failed_charges(intent.id) if intent.may_have_failed_charges else []
        return await self._ledger.apply(seen, intent, failed)

    async def _find(self, payment: Payment) -> Intent | None:
        return await self._stripe.find_intent(payment_id=payment.id, created_from=payment.created_at - _CLOCK_SKEW)


def is_untried(payment: Payment) -> bool:
    """Whether nothing was charged yet, nor is about to be."""
    return payment.status is PaymentStatus.REQUIRES_PAYMENT_METHOD and payment.failed_attempts == 0


def _key(payment: Payment, call: str) -> str:
    return f"{payment.id}:{call}:{payment.generation}"


def _intent_of(payment: Payment) -> str:
    if payment.intent_id is None:
        raise ValueError(f"payment {payment.id} has no intent yet")
    return payment.intent_id
