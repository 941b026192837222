"""Use cases of refunds. Each may be repeated at any time, and finishes what an earlier attempt began."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.caller import Caller
from runtime.wakeups import Wakeups, wait_until
from services.payment.errors import PaymentDisputed, PaymentNotFound
from services.payment.follow_ups import FollowUps
from services.payment.ledger import PaymentLedger
from services.payment.model import NewRefund, Payment, Refund
from services.payment.refund_ledger import RefundLedger
from services.payment.refunds import Refunds


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The answer to a request for a refund: it succeeded or failed, or, `accepted_only`, may do so later."""

    payment: Payment
    refund: Refund
    accepted_only: bool
    replayed: bool


class RefundService:
    """Refunds of payments."""

    def __init__(
        self, payments: PaymentLedger, ledger: RefundLedger, refunds: Refunds, follow_ups: FollowUps, wakeups: Wakeups
    ) -> None:
        self._payments = payments
        self._ledger = ledger
        self._refunds = refunds
        self._follow_ups = follow_ups
        self._wakeups = wakeups

    async def request(self, new: NewRefund, *, idempotency_key: str, wait: float) -> Requested:
        """Ask for a refund, once per admin and key, and wait up to `wait` seconds for what comes of it.

        It is stored before its saga is started, so that a sweep can start it.

        Raises:
            PaymentNotFound: the order has no payment.
            PaymentNotRefundable: nothing came in, or it goes back already.
            PaymentDisputed: the customer's bank decides about the money.
            RefundExceedsPayment: less than that is left.
            RestockExceedsSale: fewer pieces can come back.
            InvalidArgument: Stripe cannot express the amount.
            IdempotencyKeyReused: the key stands for another request.
        """
        payment, refund_id, known = await self._ledger.request(new, key=idempotency_key)
        with self._wakeups.subscribe(refund_id) as moved:
            if known is None:
                await self._follow_ups.wake_if_possible(payment)
            payment = await wait_until(
                lambda payment: _is_over(payment.get_refund(refund_id)),
                lambda: self._ledger.get(refund_id),
                moved,
                wait=wait,
                check_first=known is not None,
            )
        refund = payment.get_refund(refund_id)
        accepted_only = known is not None and known.accepted_only
        if not _is_over(refund) and not accepted_only:
            accepted_only = True
            await self._ledger.set_accepted_only(user_id=new.requested_by, key=idempotency_key)
        return Requested(payment=payment, refund=refund, accepted_only=accepted_only, replayed=known is not None)

    async def list_refunds(self, order_id: str, *, caller: Caller) -> Payment:
        """The order's payment with its refunds.

        Raises:
            PaymentNotFound: the order has none that the caller may see.
        """
        payment = await self._payments.get(order_id)
        if not caller.may_see(payment.user_id or ""):
            raise PaymentNotFound(order_id)
        return payment

    async def carry_out(self, refund_id: str) -> Payment:
        """See `Refunds.carry_out`; whoever calls knows then how the refund stands."""
        try:
            payment = await self._refunds.carry_out(refund_id)
        except PaymentDisputed:  # it may have been found just now
            await self._follow_ups.wake_if_possible(await self._ledger.get(refund_id))
            raise
        await self._follow_ups.set_known(payment.get_refund(refund_id))
        await self._follow_ups.wake_if_possible(payment)
        return payment

    async def replace_failed(self, refund_id: str) -> Payment:
        """See `RefundLedger.replace_failed`; the new refund's saga is started."""
        payment = await self._ledger.replace_failed(refund_id)
        await self._follow_ups.set_known(payment.get_refund(refund_id))
        await self._follow_ups.wake_if_possible(payment)
        return payment

    async def resolve(self, refund_id: str) -> Payment:
        """See `RefundLedger.resolve`."""
        return await self._ledger.resolve(refund_id)

    async def close(self, refund_id: str, *, version: int) -> bool:
        """See `RefundLedger.close`."""
        return await self._ledger.close(refund_id, version=version)


def _is_over(refund: Refund) -> bool:
    """Whether it succeeded, and the order and the stock know; or whether it failed."""
    return refund.status.has_failed or not refund.saga_open
