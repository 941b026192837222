"""Use cases of approvals: a second person approves before somebody asks, and the refund then made uses that up.

So a refund that waits for somebody is nothing that a saga has to know of: it is refused, and asked for again.
"""

from __future__ import annotations

from typing import Final

from domain.ids import new_id
from runtime.clock import Clock
from runtime.database import Connection
from runtime.idempotency import IdempotencyKeys, IdempotentRequest
from services.payment.payments.model import Change, Payment
from services.payment.payments.store import PaymentStore
from services.payment.refunds import approval_decisions as decisions
from services.payment.refunds.approval_repository import ApprovalRepository
from services.payment.refunds.model import GivenApproval, NewApproval

APPROVAL_ROUTE: Final = "POST /v1/orders/{id}/refund-approvals"


class ApprovalService:
    """Approvals of refunds.

    People may give back `limit` of a payment in all without one, in minor units; if it is 0, anything.
    """

    def __init__(self, store: PaymentStore, *, clock: Clock, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit

    async def approve(self, new: NewApproval, *, idempotency_key: str | None = None) -> GivenApproval:
        """Let somebody else give back so much, once, within a day; once per person and key.

        Without a key, each request gives an approval of its own.

        Raises:
            PaymentNotFound: the order has no payment.
            PaymentNotRefundable: nothing came in, or it goes back already.
            PaymentDisputed: the customer's bank decides about the money.
            RefundExceedsPayment: less than that is left.
            RefundNeedsNoApproval: one person may give so much back.
            IdempotencyKeyReused: the key stands for another approval.
        """
        at, approval_id = self._clock(), new_id()
        async with self._store.transaction() as transaction:
            repository = ApprovalRepository(transaction)
            if idempotency_key is not None:
                keys = IdempotencyKeys(transaction)
                request = IdempotentRequest.of(
                    new.content, user_id=new.approver.key, route=APPROVAL_ROUTE, key=idempotency_key, wait=0, at=at
                )
                if not await keys.claim(request, subject_id=approval_id):
                    first = await keys.get_first(request)
                    payment = await self._store.lock_in(transaction, new.order_id)
                    approval = await repository.get(first.subject_id)
                    return GivenApproval(payment=payment, approval=approval, replayed=True)
            payment = await self._store.lock_in(transaction, new.order_id)
            approval = decisions.approve_refund(payment, new, approval_id=approval_id, at=at, limit=self._limit)
            await repository.add(approval)
            return GivenApproval(payment=payment, approval=approval, replayed=False)

    async def change_in(self, transaction: Connection, locked: Payment, change: Change) -> Payment:
        """Make a change that makes a refund, if it has the approval that it wants: this is used up with that.

        Args:
            transaction: has locked the payment.
            locked: the payment as it is stored.
            change: what becomes of it.

        Raises:
            RefundNeedsApproval: nobody else has approved it.
        """
        refund = decisions.find_unapproved(locked, change, limit=self._limit)
        if refund is None:
            return await self._store.change_in(transaction, locked, change)
        repository = ApprovalRepository(transaction)
        unused = await repository.lock_unused(locked.id)
        approval = decisions.choose_approval(change.payment, refund, unused, at=self._clock(), limit=self._limit)
        written = await self._store.change_in(transaction, locked, decisions.with_approval(change, refund, approval))
        await repository.use(approval.id, refund_id=refund.id)
        return written
