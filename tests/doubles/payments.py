"""The payment service's steps in memory, in front of `StripeModel`.

As in the service the payment row comes first, its intent is made unconfirmed, an event is only a hint to re-read, and
`closing` and `voided` are kept before Stripe is asked. Between a look at Stripe and what follows from it every step
calls `meanwhile`, so that something can happen there. What a void owes is a refund of its own, which it does not wait
for: `tests.doubles.refunds` has the steps that give it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from domain.orders import OrderLine
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from domain.refusals import Refusal
from domain.saga import CheckPaymentRequest, OpenPaymentRequest, PaymentState
from tests.doubles.refusals import refused
from tests.doubles.stripe import (
    Dispute,
    Intent,
    Refund,
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
REFUND_STATUSES = {
    "pending": RefundStatus.PENDING,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.CANCELLED,
}
LEAST = 50
"""Minor units that Stripe charges at least, in the currencies that tests use."""
NO_CURRENCY = "XXX"

Meanwhile = Callable[[str], Awaitable[None]]


class Unsettled(Exception):
    """Neither cancelled nor refunded yet: trouble that passes."""


@dataclass(slots=True)
class RefundRow:
    """A refund as it is stored."""

    id: str
    order_id: str
    origin: RefundOrigin
    amount: int
    status: RefundStatus = RefundStatus.REQUESTED
    made_id: str | None = None
    """Stripe's id."""
    failure_reason: str | None = None
    generation: int = 0
    restock: tuple[OrderLine, ...] = ()
    restock_id: str = ""
    version: int = 1
    woken_version: int = 0
    saga_open: bool = True

    def become(self, status: RefundStatus, failure_reason: str | None = None) -> None:
        """Its next version, which its saga has to follow up."""
        self.status, self.failure_reason = status, failure_reason or self.failure_reason
        self.version += 1
        self.saga_open = True


@dataclass(slots=True)
class DisputeRow:
    """A dispute as it is stored."""

    id: str
    order_id: str
    amount: int
    status: DisputeStatus
    withdrawn: int
    version: int = 1
    woken_version: int = 0
    saga_open: bool = True


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
    refunds: dict[str, RefundRow] = field(default_factory=dict)
    disputes: dict[str, DisputeRow] = field(default_factory=dict)

    @property
    def refunded(self) -> int:
        """What is given back, by Stripe's word."""
        return sum(refund.amount for refund in self.refunds.values() if refund.status is RefundStatus.SUCCEEDED)

    @property
    def live(self) -> int:
        """What is given back, or reserved for that."""
        return sum(refund.amount for refund in self.refunds.values() if refund.status.is_live)

    @property
    def refundable(self) -> int:
        """What came in and is neither given back, nor about to be, nor lost to a dispute."""
        lost = sum(dispute.withdrawn for dispute in self.disputes.values())
        return max(self.amount_received - self.live - lost, 0)

    @property
    def unowed(self) -> int:
        """What a voided payment took, and no refund stands for yet."""
        if not self.voided or self.status is not PaymentStatus.SUCCEEDED:
            return 0
        owed = sum(
            refund.amount
            for refund in self.refunds.values()
            if refund.status.is_live
            or (refund.origin is RefundOrigin.VOID and refund.status is not RefundStatus.REPLACED)
        )
        return max(self.amount_received - owed, 0)

    @property
    def open_dispute(self) -> DisputeRow | None:
        """A dispute that stops refunds."""
        stops = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW)
        return next((dispute for dispute in self.disputes.values() if dispute.status in stops), None)


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

    def follow_up(self, order_id: str) -> None:
        """Catch up with Stripe after an event: re-read, owe late money, and see what became of refunds and disputes."""
        payment = self._get(order_id)
        self._reread(payment)
        self.catch_up(payment)

    def catch_up(self, payment: Payment) -> None:
        """Write down what Stripe says of the payment's refunds and disputes; those that are not ours are adopted."""
        if payment.intent_id is None:
            return
        intent = self._stripe.intents[payment.intent_id]
        for made in intent.refunds:
            self._settle_refund(payment, made)
        for dispute in intent.disputes:
            self._settle_dispute(payment, dispute)
        self._owe(payment)

    def request_refund(self, order_id: str, amount: int | None = None, restock: tuple[OrderLine, ...] = ()) -> str:
        """An admin asks for a refund, of all that is left without an amount; its id."""
        payment = self._get(order_id)
        if payment.status is not PaymentStatus.SUCCEEDED or payment.voided:
            raise refused(Refusal.PAYMENT_NOT_REFUNDABLE, f"order {order_id}")
        if payment.open_dispute is not None:
            raise refused(Refusal.PAYMENT_DISPUTED, f"order {order_id}")
        wanted = payment.refundable if amount is None else amount
        if not 0 < wanted <= payment.refundable:
            raise refused(Refusal.REFUND_EXCEEDS_PAYMENT, f"{payment.refundable} is left of order {order_id}")
        return self.add_refund(payment, RefundOrigin.ADMIN, wanted, restock=restock).id

    def take_news(self) -> list[RefundRow | DisputeRow]:
        """What is open and its workflow does not know of yet: each is to be started, and woken. It is told once."""
        news = list[RefundRow | DisputeRow]()
        for payment in self.payments.values():
            rows: list[RefundRow | DisputeRow] = [*payment.refunds.values(), *payment.disputes.values()]
            news += [row for row in rows if row.saga_open and row.woken_version < row.version]
        for row in news:
            row.woken_version = row.version
        return news

    def find_refund(self, refund_id: str) -> tuple[Payment, RefundRow]:
        """A refund, and the payment that it is of."""
        for payment in self.payments.values():
            if refund_id in payment.refunds:
                return payment, payment.refunds[refund_id]
        raise refused(Refusal.REFUND_NOT_FOUND, f"refund {refund_id}")

    def find_dispute(self, dispute_id: str) -> tuple[Payment, DisputeRow]:
        """A dispute, and the payment that it is about."""
        for payment in self.payments.values():
            if dispute_id in payment.disputes:
                return payment, payment.disputes[dispute_id]
        raise refused(Refusal.DISPUTE_NOT_FOUND, f"dispute {dispute_id}")

    def add_refund(
        self,
        payment: Payment,
        origin: RefundOrigin,
        amount: int,
        *,
        status: RefundStatus = RefundStatus.REQUESTED,
        made_id: str | None = None,
        restock: tuple[OrderLine, ...] = (),
        restock_id: str | None = None,
    ) -> RefundRow:
        """One more refund of a payment."""
        refund_id = f"refund-{len(payment.refunds) + 1}-of-{payment.id}"
        refund = RefundRow(refund_id, payment.order_id, origin, amount, status, made_id, restock=restock)
        refund.restock_id = restock_id or refund_id
        payment.refunds[refund_id] = refund
        return refund

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
        if payment.unowed:
            self.add_refund(payment, RefundOrigin.VOID, payment.unowed)

    def _settle_refund(self, payment: Payment, made: Refund) -> None:
        status = REFUND_STATUSES[made.status]
        for refund in payment.refunds.values():
            if made.id == refund.made_id or (refund.made_id is None and made.refund_id == refund.id):
                break
        else:
            self.add_refund(payment, RefundOrigin.STRIPE, made.amount, status=status, made_id=made.id)
            return
        if refund.status in (RefundStatus.RESOLVED, RefundStatus.REPLACED):
            return
        if (refund.status, refund.made_id) != (status, made.id):
            refund.made_id = made.id
            refund.become(status, "declined" if status.has_failed else None)

    def _settle_dispute(self, payment: Payment, found: Dispute) -> None:
        status = DisputeStatus(found.status.upper())
        known = payment.disputes.get(found.id)
        if known is None:
            payment.disputes[found.id] = DisputeRow(
                found.id, payment.order_id, found.amount, status, withdrawn=found.withdrawn
            )
        elif known.status is not status:
            known.status, known.withdrawn, known.saga_open = status, found.withdrawn, True
            known.version += 1
        else:
            return
        for refund in payment.refunds.values():
            refund.woken_version = 0  # it may wait for the dispute

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
