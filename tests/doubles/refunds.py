"""The steps of refunds and disputes in memory, on the payments of `PaymentsDouble`.

As in the service a refund is looked for at Stripe before it is made, and nothing is made while a bank decides.
"""

from __future__ import annotations

from domain.refunds import RefundOrigin, RefundStatus
from domain.refusals import Refusal
from domain.saga import CloseDisputeRequest, CloseRefundRequest, DisputeState, RefundState
from tests.doubles.payments import NO_CURRENCY, DisputeRow, Meanwhile, Payment, PaymentsDouble, RefundRow
from tests.doubles.refusals import refused
from tests.doubles.stripe import StripeChargeDisputed, StripeModel, StripeRefuses
from workflows.steps import DisputeSteps, RefundSteps


class RefundsDouble(RefundSteps):
    """See `workflows.steps.RefundSteps`."""

    def __init__(self, payments: PaymentsDouble, stripe: StripeModel, *, meanwhile: Meanwhile | None = None) -> None:
        self._payments = payments
        self._stripe = stripe
        self._meanwhile = meanwhile

    async def carry_out_refund(self, refund_id: str) -> RefundState:
        payment, refund = self._payments.find_refund(refund_id)
        self._payments.catch_up(payment)
        if self._meanwhile is not None:
            await self._meanwhile("carry_out_refund")
        if refund.status is RefundStatus.REQUESTED:
            if payment.open_dispute is not None:
                raise refused(Refusal.PAYMENT_DISPUTED, f"order {payment.order_id}")
            self._make(payment, refund)
        refund.woken_version = refund.version
        return _refund_state(payment, refund)

    async def replace_refund(self, refund_id: str) -> RefundState:
        payment, failed = self._payments.find_refund(refund_id)
        if failed.status.has_failed:
            if payment.open_dispute is not None:
                raise refused(Refusal.PAYMENT_DISPUTED, f"order {payment.order_id}")
            if failed.amount > payment.refundable:
                raise refused(Refusal.REFUND_EXCEEDS_PAYMENT, f"{payment.refundable} is left")
            origin = RefundOrigin.VOID if failed.origin is RefundOrigin.VOID else RefundOrigin.ADMIN
            self._payments.add_refund(
                payment, origin, failed.amount, restock=failed.restock, restock_id=failed.restock_id
            )
            failed.become(RefundStatus.REPLACED)
        failed.woken_version = failed.version
        return _refund_state(payment, failed)

    async def resolve_refund(self, refund_id: str) -> RefundState:
        payment, refund = self._payments.find_refund(refund_id)
        if refund.status.has_failed:
            refund.become(RefundStatus.RESOLVED)
        return _refund_state(payment, refund)

    async def close_refund(self, request: CloseRefundRequest) -> bool:
        _, refund = self._payments.find_refund(request.refund_id)
        if refund.version != request.version:
            return False
        refund.saga_open = False
        return True

    def _make(self, payment: Payment, refund: RefundRow) -> None:
        key = f"{refund.id}:{refund.generation}"
        try:
            self._stripe.refund(payment.intent_id or "", refund_id=refund.id, amount=refund.amount, key=key)
        except StripeChargeDisputed as disputed:
            refund.generation += 1  # Stripe repeats what it answered to the first key
            self._payments.catch_up(payment)
            if payment.open_dispute is not None:
                raise refused(Refusal.PAYMENT_DISPUTED, f"order {payment.order_id}") from None
            self._fail(payment, refund, str(disputed))
        except StripeRefuses as error:
            self._payments.catch_up(payment)
            self._fail(payment, refund, str(error))
        self._payments.catch_up(payment)

    def _fail(self, payment: Payment, refund: RefundRow, reason: str) -> None:
        if refund.status is not RefundStatus.REQUESTED:
            return
        others = payment.live - refund.amount
        is_replaced = refund.origin is RefundOrigin.VOID and 0 < others > payment.amount_received - refund.amount
        refund.become(RefundStatus.REPLACED if is_replaced else RefundStatus.FAILED, reason)


class DisputesDouble(DisputeSteps):
    """See `workflows.steps.DisputeSteps`."""

    def __init__(self, payments: PaymentsDouble) -> None:
        self._payments = payments

    async def check_dispute(self, dispute_id: str) -> DisputeState:
        payment, dispute = self._payments.find_dispute(dispute_id)
        self._payments.catch_up(payment)
        return _dispute_state(payment, dispute)

    async def close_dispute(self, request: CloseDisputeRequest) -> bool:
        _, dispute = self._payments.find_dispute(request.dispute_id)
        if dispute.version != request.version:
            return False
        dispute.saga_open = False
        return True


def _currency(payment: Payment) -> str:
    return payment.currency_received or NO_CURRENCY


def _refund_state(payment: Payment, refund: RefundRow) -> RefundState:
    return RefundState(
        refund_id=refund.id,
        order_id=payment.order_id,
        status=refund.status,
        amount=refund.amount,
        currency=_currency(payment),
        failure_reason=refund.failure_reason,
        origin=refund.origin,
        restock=list(refund.restock),
        restock_id=refund.restock_id,
        version=refund.version,
    )


def _dispute_state(payment: Payment, dispute: DisputeRow) -> DisputeState:
    return DisputeState(
        dispute_id=dispute.id,
        order_id=payment.order_id,
        status=dispute.status,
        reason="fraudulent",
        amount=dispute.amount,
        currency=_currency(payment),
        respond_by=None,
        version=dispute.version,
    )
