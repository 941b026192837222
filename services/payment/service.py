"""Use cases of the payment service. Each may be repeated at any time, and finishes what an earlier attempt began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from domain.payments import PaymentStatus
from runtime.caller import Caller
from services.payment.disputes import Disputes
from services.payment.errors import (
    NoSuchPayment,
    PaymentDiffers,
    PaymentNotFound,
    PaymentRejected,
    PaymentUnsettled,
    PaymentVoided,
)
from services.payment.event_types import DISPUTE_TYPES, REFUND_TYPES
from services.payment.follow_ups import FollowUps
from services.payment.intents import Intents, is_untried
from services.payment.ledger import PaymentLedger
from services.payment.model import NewPayment, Payment
from services.payment.refunds import Refunds
from services.payment.stripe_amounts import check_chargeable
from services.payment.stripe_client import StripeClient
from services.payment.stripe_port import StripeRefused


class PaymentService:
    """Payments of orders.

    Within a process one order's calls wait for each other. That only spares Stripe contradictory requests: that money
    moves once holds without it, by idempotency keys, Stripe's own state machine and the ledger's guard.
    """

    def __init__(
        self,
        ledger: PaymentLedger,
        stripe: StripeClient,
        *,
        refunds: Refunds,
        disputes: Disputes,
        follow_ups: FollowUps,
    ) -> None:
        self._ledger = ledger
        self._stripe = stripe
        self._intents = Intents(ledger, stripe)
        self._refunds = refunds
        self._disputes = disputes
        self._follow_ups = follow_ups
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def check_amount(self, amount: int, currency: str) -> None:
        """Whether Stripe can be asked for an amount at all.

        Raises:
            PaymentRejected: why not.
        """
        check_chargeable(amount, currency)

    async def open(self, new: NewPayment) -> Payment:
        """Open the order's payment, and try to take the money if a payment method came with it. A decline is an answer.

        Raises:
            PaymentRejected: Stripe does not take the amount or the payment method.
            PaymentVoided: the order's payment was undone.
            PaymentDiffers: the order has a payment of another customer, amount, currency or payment method.
            StripeUnavailable: repeat.
        """
        check_chargeable(new.amount, new.currency)
        async with self._alone(new.order_id):
            payment = await self._ledger.open(new)
            if payment.voided:
                raise PaymentVoided(new.order_id)
            if _terms(payment) != _terms(new):
                raise PaymentDiffers(new.order_id)
            if payment.closing:
                return payment
            try:
                if payment.intent_id is None:
                    payment = await self._intents.learn(payment)
                else:
                    payment = await self._intents.reread(payment)
                if new.payment_method is not None and is_untried(payment) and not payment.closing:
                    payment = await self._intents.confirm(payment, new.payment_method)
            except StripeRefused as refused:
                raise PaymentRejected(str(refused)) from refused
            return payment

    async def check(self, order_id: str, *, refresh: bool) -> Payment:
        """The order's payment as it is stored or, with `refresh`, as Stripe has it now.

        Raises:
            PaymentNotFound: the order has none.
            StripeUnavailable: repeat.
        """
        payment = await self._ledger.get(order_id)
        if not refresh:
            return payment
        async with self._alone(order_id):
            return await self._intents.reread(payment)

    async def get(self, payment_id: str, *, caller: Caller) -> Payment:
        """One payment by its own id, as it is stored.

        Raises:
            NoSuchPayment: there is none that the caller may see.
        """
        payment = await self._ledger.find_by_id(payment_id)
        if payment is None or not caller.may_see(payment.user_id or ""):
            raise NoSuchPayment(payment_id)
        return payment

    async def close(self, order_id: str) -> Payment:
        """End the wait for money: comes back CANCELLED, or SUCCEEDED or PROCESSING if the money was faster.

        Raises:
            PaymentNotFound: the order has none.
            PaymentUnsettled, StripeUnavailable: repeat.
        """
        async with self._alone(order_id):
            return await self._intents.end(await self._ledger.close(order_id))

    async def void(self, order_id: str) -> None:
        """Undo the order's payment: cancelled, or what came in is owed. Without one, a late open is refused.

        What is owed is kept with the payment, and given back by a saga of its own: that may take days, and the order
        need not wait for it.

        Raises:
            PaymentUnsettled, StripeUnavailable: repeat.
        """
        async with self._alone(order_id):
            payment = await self._intents.end(await self._ledger.void(order_id))
            if payment.status is PaymentStatus.PROCESSING:
                raise PaymentUnsettled(f"payment {payment.id} is still processing")
        await self._follow_ups.wake_if_possible(payment)

    async def client_secret(self, order_id: str, caller: Caller) -> str:
        """What lets the customer's browser pay, straight from Stripe; empty once nobody shall pay any more.

        Raises:
            PaymentNotFound: the order has no payment that the caller may see.
            StripeUnavailable: repeat.
        """
        payment = await self._ledger.get(order_id)
        if not caller.may_see(payment.user_id or ""):
            raise PaymentNotFound(order_id)
        if payment.intent_id is None or payment.closing or payment.status.is_final:
            return ""
        return await self._stripe.get_client_secret(payment.intent_id)

    async def find(self, *, intent_id: str | None, order_id: str | None) -> Payment | None:
        """The payment that an event tells of, if we know it."""
        return await self._ledger.find(intent_id=intent_id, order_id=order_id)

    async def follow_up(self, order_id: str, *, event_type: str) -> None:
        """Catch up with Stripe after a hint of its, and wake the workflows that it concerns but the order's own.

        Raises:
            StripeUnavailable, SignalUndelivered: repeat.
        """
        is_dispute = event_type.startswith(DISPUTE_TYPES)
        async with self._alone(order_id):
            payment = await self._intents.reread(await self._ledger.get(order_id))
            if event_type.startswith(REFUND_TYPES):
                payment = await self._refunds.catch_up(payment)
            if is_dispute:
                payment = await self._disputes.catch_up(payment)
        await self._follow_ups.wake(payment, dispute_changed=is_dispute)

    @asynccontextmanager
    async def _alone(self, order_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(order_id, asyncio.Lock())
        async with lock:
            yield


def _terms(payment: NewPayment | Payment) -> tuple[str | None, int, str, str | None]:
    return payment.user_id, payment.amount, payment.currency, payment.payment_method
