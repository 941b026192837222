"""The payment service's steps in memory, in front of `StripeModel`.

As in the service the payment row comes first, its intent is made unconfirmed, an event is only a hint to re-read, and
`closing` and `voided` are kept before Stripe is asked. Between a look at Stripe and what follows from it every step
calls `meanwhile`, so that something can happen there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from domain.payments import PaymentStatus
from domain.refusals import Refusal
from domain.saga import CheckPaymentRequest, OpenPaymentRequest, PaymentState
from tests.doubles.refusals import refused
from tests.doubles.stripe import (
    Intent,
    StripeDeclines,
    StripeModel,
    StripeRefuses,
    StripeUnexpectedState,
)
from workflows.steps import PaymentSteps

STATUSES = {
    "requires_payment_method": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "processing": PaymentStatus.PROCESSING,
    "succeeded": PaymentStatus.SUCCEEDED,
    "canceled": PaymentStatus.CANCELLED,
}
LEAST = 50
"""Minor units that Stripe charges at least, in the currencies that tests use."""
NO_CURRENCY = "XXX"

Meanwhile = Callable[[str], Awaitable[None]]


class Unsettled(Exception):
    """Neither cancelled nor refunded yet: trouble that passes."""


@dataclass(slots=True)
class Payment:
    """A payment as it is stored."""

    id: str
    order_id: str
    terms: tuple[str, int, str, str | None] | None
    """User, amount, currency and payment method; a tombstone has none."""
    status: PaymentStatus = PaymentStatus.OPENING
    intent_id: str | None = None
    amount_received: int = 0
    currency_received: str | None = None
    failed_charges: set[str] = field(default_factory=set)
    closing: bool = False
    voided: bool = False
    refund_id: str | None = None
    """The one refund that it owes, once it is voided and has succeeded."""
    refunded: int = 0


class PaymentsDouble(PaymentSteps):
    """See `workflows.steps.PaymentSteps`."""

    def __init__(self, stripe: StripeModel, *, meanwhile: Meanwhile | None = None) -> None:
        self.payments: dict[str, Payment] = {}
        self._stripe = stripe
        self._meanwhile = meanwhile or _nothing

    def check_amount(self, amount: int, currency: str) -> None:
        """Refuse what Stripe cannot charge."""
        if amount < LEAST:
            raise refused(Refusal.PAYMENT_REJECTED, f"{amount} {currency} is too little")

    async def open_payment(self, request: OpenPaymentRequest) -> PaymentState:
        self.check_amount(request.amount, request.currency)
        terms = (request.user_id, request.amount, request.currency, request.payment_method)
        payment = self.payments.setdefault(request.order_id, self._new(request.order_id, terms))
        if payment.voided:
            raise refused(Refusal.PAYMENT_VOIDED, f"order {request.order_id}")
        if payment.terms != terms:
            raise refused(Refusal.PAYMENT_DIFFERS, f"order {request.order_id}")
        if payment.closing:
            return _state(payment)
        try:
            self._learn(payment)
            await self._meanwhile("open_payment")
            untried = payment.status is PaymentStatus.REQUIRES_PAYMENT_METHOD and not payment.failed_charges
            if request.payment_method is not None and untried:
                self._confirm(payment, request.payment_method)
        except StripeRefuses as error:
            raise refused(Refusal.PAYMENT_REJECTED, str(error)) from None
        return _state(payment)

    async def check_payment(self, request: CheckPaymentRequest) -> PaymentState:
        payment = self._get(request.order_id)
        if request.refresh:
            self._reread(payment)
        return _state(payment)

    async def close_payment(self, order_id: str) -> PaymentState:
        payment = self._get(order_id)
        payment.closing = True
        await self._end(payment, "close_payment")
        return _state(payment)

    async def void_payment(self, order_id: str) -> None:
        payment = self.payments.get(order_id)
        if payment is None:
            self._bury(order_id)
            return
        payment.closing = payment.voided = True
        self._owe(payment)
        await self._end(payment, "void_payment")
        if payment.status is PaymentStatus.PROCESSING:
            raise Unsettled(f"payment {payment.id} is still processing")
        self._give_back(payment)

    def follow_up(self, order_id: str) -> None:
        """Catch up with Stripe after an event: re-read, and give late money back."""
        payment = self._get(order_id)
        self._reread(payment)
        self._give_back(payment)

    def _bury(self, order_id: str) -> None:
        """Leave a tombstone, which refuses a late open."""
        payment = self._new(order_id, None)
        payment.status, payment.closing, payment.voided = PaymentStatus.CANCELLED, True, True
        self.payments[order_id] = payment

    def _learn(self, payment: Payment) -> None:
        """Make the payment's intent, or read the one that it has."""
        if payment.intent_id is None and payment.terms is not None:
            _, amount, currency, _ = payment.terms
            intent = self._stripe.create(
                order_id=payment.order_id,
                payment_id=payment.id,
                amount=amount,
                currency=currency,
                key=f"{payment.id}:create",
            )
            payment.intent_id = intent.id
        self._reread(payment)

    def _confirm(self, payment: Payment, card: str) -> None:
        try:
            self._stripe.confirm(payment.intent_id or "", card, key=f"{payment.id}:confirm")
        except (StripeDeclines, StripeUnexpectedState):
            pass
        finally:
            self._reread(payment)

    async def _end(self, payment: Payment, step: str) -> None:
        """CANCELLED, unless the money came or is on its way."""
        if payment.status.is_final:
            return
        self._learn(payment)
        await self._meanwhile(step)
        if _is_settled(payment):
            return
        with suppress(StripeUnexpectedState):
            self._stripe.cancel(payment.intent_id or "")
        self._reread(payment)
        if not _is_settled(payment):
            raise Unsettled(f"payment {payment.id} changed while it was being cancelled")

    def _reread(self, payment: Payment) -> None:
        if payment.intent_id is None or payment.status.is_final:
            return
        intent = self._stripe.intents[payment.intent_id]
        payment.status = STATUSES[intent.status]
        if payment.status is PaymentStatus.SUCCEEDED:
            payment.amount_received, payment.currency_received = intent.amount_received, intent.currency
        else:
            self._count_attempts(payment, intent)
        self._owe(payment)

    def _count_attempts(self, payment: Payment, intent: Intent) -> None:
        payment.failed_charges.update(intent.failed_charges)

    def _owe(self, payment: Payment) -> None:
        if payment.voided and payment.status is PaymentStatus.SUCCEEDED and payment.refund_id is None:
            payment.refund_id = f"refund-of-{payment.id}"

    def _give_back(self, payment: Payment) -> None:
        if payment.refund_id is None or payment.intent_id is None or payment.refunded:
            return
        made = self._stripe.find_refund(payment.intent_id, payment.refund_id)
        if made is None:
            try:
                made = self._stripe.refund(
                    payment.intent_id, refund_id=payment.refund_id, amount=payment.amount_received
                )
            except StripeRefuses as error:
                raise refused(Refusal.REFUND_FAILED, str(error)) from None
        payment.refunded = made.amount

    def _new(self, order_id: str, terms: tuple[str, int, str, str | None] | None) -> Payment:
        return Payment(f"payment-of-{order_id}", order_id, terms)

    def _get(self, order_id: str) -> Payment:
        if order_id not in self.payments:
            raise refused(Refusal.PAYMENT_NOT_FOUND, f"order {order_id}")
        return self.payments[order_id]


def _is_settled(payment: Payment) -> bool:
    return payment.status.is_final or payment.status is PaymentStatus.PROCESSING


def _state(payment: Payment) -> PaymentState:
    currency = payment.terms[2] if payment.terms is not None else NO_CURRENCY
    return PaymentState(
        payment_id=payment.id,
        status=payment.status,
        amount_received=payment.amount_received,
        currency=payment.currency_received or currency,
        failed_attempts=len(payment.failed_charges),
    )


async def _nothing(step: str) -> None:
    """Nothing happens meanwhile."""
