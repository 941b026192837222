"""Use cases of refunds. Each may be repeated at any time, and finishes what an earlier attempt began.

Money leaves only here: a refund is looked for at Stripe before any key is used, and made once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from domain.ids import new_id
from domain.refunds import RefundStatus
from runtime.clock import Clock
from runtime.idempotency import FirstRequest, IdempotencyKeys, IdempotentRequest
from runtime.tracing import note_order
from runtime.wakeups import Wakeups, wait_until
from services.payment.disputes.service import DisputeService
from services.payment.order_turns import OrderTurns
from services.payment.payments.model import Change, Payment, Refund
from services.payment.payments.store import PaymentStore
from services.payment.refunds import decisions
from services.payment.refunds.approval_service import ApprovalService
from services.payment.refunds.errors import RefundNotFound
from services.payment.refunds.model import NewRefund, RequestedRefund
from services.payment.stripe.client import StripeClient
from services.payment.stripe.errors import StripeChargeDisputed, StripeKeySpent, StripeRefused, StripeStoredRefusal

REFUND_ROUTE: Final = "POST /v1/orders/{id}/refunds"


class RefundService:
    """Refunds of payments.

    Members of support may give back `support_limit` of a payment in all, in minor units.
    """

    def __init__(
        self,
        store: PaymentStore,
        disputes: DisputeService,
        approvals: ApprovalService,
        stripe: StripeClient,
        *,
        turns: OrderTurns,
        wakeups: Wakeups,
        clock: Clock,
        support_limit: int,
    ) -> None:
        self._store = store
        self._disputes = disputes
        self._approvals = approvals
        self._stripe = stripe
        self._turns = turns
        self._wakeups = wakeups
        self._clock = clock
        self._support_limit = support_limit

    async def request(self, new: NewRefund, *, idempotency_key: str, wait: float) -> RequestedRefund:
        """Ask for a refund, once per person and key, and wait up to `wait` seconds for what becomes of it.

        It is stored, and due to be followed up by its saga, before anything waits.

        Raises:
            PaymentNotFound: the order has no payment.
            PaymentNotRefundable: nothing came in, or it goes back already.
            PaymentDisputed: the customer's bank decides about the money.
            RefundExceedsPayment: less than that is left.
            RefundNeedsAdmin: it is more than support may give back.
            RefundNeedsApproval: it is more than one person may give back, and nobody else has approved it.
            RestockExceedsSale: fewer units can come back.
            InvalidArgument: Stripe cannot express the amount.
            IdempotencyKeyReused: the key stands for another request.
            IdempotencyKeyInUse: what its first request is answered is not known yet, and the caller cannot wait for it.
        """
        request = IdempotentRequest.of(
            new.content, user_id=new.requested_by, route=REFUND_ROUTE, key=idempotency_key, wait=wait, at=self._clock()
        )
        refund_id = new_id()
        with self._wakeups.subscribe(refund_id) as moved:
            first = await self._reserve(new, request, refund_id=refund_id)
            if not first.replayed:
                return await self._answer(first, moved, wait=wait)
        with self._wakeups.subscribe(first.subject_id) as moved:
            return await self._answer(first, moved, wait=wait)

    async def catch_up(self, payment: Payment, *, asking: str | None = None) -> Payment:
        """Store what Stripe says of every refund of the payment, also of those that were made at its side.

        To be called in a turn of its order.

        Args:
            payment: as it was read.
            asking: the refund whose saga asks, and so knows afterwards.

        Raises:
            StripeUnavailable: repeat.
        """
        return await self._store.follow(payment, partial(self._look, asking=asking))

    async def carry_out(self, refund_id: str) -> Payment:
        """Ask Stripe for a refund unless it has it; the payment as it is then. Its saga calls, and may repeat it.

        A refund that Stripe refuses is FAILED: it needs a person, whom its saga calls.

        Raises:
            RefundNotFound: there is no such refund.
            PaymentDisputed: the customer's bank decides about the money.
            StripeUnavailable: repeat.
        """
        payment = await self._get(refund_id)
        async with self._turns.turn(payment.order_id):
            try:
                return await self._carry_out(payment, refund_id)
            except StripeStoredRefusal:  # the refund has its next key by now
                return await self._carry_out(await self._get(refund_id), refund_id)

    async def replace_failed(self, refund_id: str) -> Payment:
        """Make another refund in the place of a failed one; of any other nothing changes. The failed one's saga calls.

        Raises:
            RefundNotFound: there is no such refund.
            RefundExceedsPayment: its money is given back otherwise.
            PaymentDisputed: the customer's bank decides about the money.
            RefundNeedsApproval: others give so much back by now that this one wants a second person, too.
        """
        order_id = (await self._get(refund_id)).order_id
        async with self._store.transaction() as transaction:
            payment = await self._store.lock_in(transaction, order_id)
            change = decisions.replace_failed_refund(payment, refund_id, at=self._clock())
            if change is None:
                return payment
            return await self._approvals.change_in(transaction, payment, change)

    async def resolve(self, refund_id: str) -> Payment:
        """Note that a person dealt with a failed refund, whose saga calls; of any other nothing changes.

        Raises:
            RefundNotFound: there is no such refund.
        """
        return await self._store.change(
            await self._get(refund_id), partial(decisions.resolve_refund, refund_id=refund_id)
        )

    async def close(self, refund_id: str, *, version: int) -> bool:
        """Note that nothing more follows from the refund; false when it has another version by now.

        Raises:
            RefundNotFound: there is no such refund.
        """
        decide = partial(decisions.close_refund, refund_id=refund_id, version=version)
        closed = await self._store.change(await self._get(refund_id), decide)
        return closed.get_refund(refund_id).version == version

    async def _reserve(self, new: NewRefund, request: IdempotentRequest, *, refund_id: str) -> FirstRequest:
        """Store the refund under its key; the request that claimed the key, this one or an earlier one."""
        async with self._store.transaction() as transaction:
            keys = IdempotencyKeys(transaction)
            if not await keys.claim(request, subject_id=refund_id):
                return await keys.get_first(request)
            # What a refusal raises takes the key back, too.
            payment = await self._store.lock_in(transaction, new.order_id)
            change = decisions.request_refund(
                payment, new, refund_id=refund_id, at=self._clock(), support_limit=self._support_limit
            )
            await self._approvals.change_in(transaction, payment, change)
            return request.as_first(refund_id)

    async def _answer(self, first: FirstRequest, moved: asyncio.Event, *, wait: float) -> RequestedRefund:
        """Wait for the refund as long as the first request does, and answer as that one is answered."""
        payment = await wait_until(
            lambda payment: payment.get_refund(first.subject_id).is_over,
            lambda: self._get(first.subject_id),
            moved,
            wait=first.seconds_to_wait(wait, at=self._clock()),
            check_first=first.replayed,
        )
        refund = payment.get_refund(first.subject_id)
        accepted_only = not first.answered_with(refund.settled_at, at=self._clock())
        return RequestedRefund(payment=payment, refund=refund, accepted_only=accepted_only, replayed=first.replayed)

    async def _carry_out(self, payment: Payment, refund_id: str) -> Payment:
        # Looking first makes any number of keys safe: none is used while Stripe has a refund for our id.
        payment = await self.catch_up(payment, asking=refund_id)
        refund = payment.get_refund(refund_id)
        if refund.status is not RefundStatus.REQUESTED:
            return payment
        decisions.check_undisputed(payment)
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
            decide = partial(decisions.next_refund_generation, refund_id=refund.id, spent=refund.generation)
            await self._store.change(payment, decide)
            raise
        except StripeRefused as refused:
            return await self._follow_refusal(payment, refund, refused)
        applied = await self._store.apply(payment, decisions.follow_refunds(payment, [made], asking=refund.id))
        return applied or await self.catch_up(await self._store.get(payment.order_id), asking=refund.id)

    async def _look(self, payment: Payment, *, asking: str | None) -> Change | None:
        if payment.intent_id is None:
            return None
        found = await self._stripe.list_refunds(payment.intent_id)
        return decisions.follow_refunds(payment, found, asking=asking)

    async def _follow_refusal(self, payment: Payment, refund: Refund, refused: StripeRefused) -> Payment:
        """Find out why Stripe refuses: a dispute, or a refund at its side, may not have been heard of yet."""
        if isinstance(refused, StripeChargeDisputed):
            payment = await self._disputes.catch_up(payment)
            decisions.check_undisputed(payment)
        payment = await self.catch_up(payment, asking=refund.id)
        if payment.get_refund(refund.id).status is not RefundStatus.REQUESTED:
            return payment
        return await self._store.change(
            payment, partial(decisions.fail_refund, refund_id=refund.id, reason=str(refused))
        )

    async def _get(self, refund_id: str) -> Payment:
        """The payment that a refund is of.

        Raises:
            RefundNotFound: there is no such refund.
        """
        payment = await self._store.find_by_refund(refund_id)
        if payment is None:
            raise RefundNotFound(refund_id)
        note_order(payment)
        return payment
