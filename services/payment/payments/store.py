"""Payments as they are stored, and how they change: in one statement, made from the version that was read.

Nothing here talks to Stripe, so no transaction, lock or pooled connection is ever held while Stripe is asked. Instead
a change is made from a version of the payment, and is refused when the payment has another one by then. What was read
at Stripe after a version had been read may be applied exactly as long as the version is still the same: otherwise
another re-read may have come first, may know more, and this one is done again. A re-read that found nothing new makes a
version, too, so that one that began earlier and ended later cannot undo what it knows. So re-reads of a payment are
applied in the order in which Stripe was asked, across processes, and a slow Stripe cannot use up the connections that
webhooks need (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final

from domain.ids import new_id
from domain.refunds import RefundOrigin, RefundStatus
from runtime.clock import Clock
from runtime.database import Connection, Database
from runtime.recent import Recent
from runtime.tracing import current_traceparent
from services.payment.payments.errors import PaymentNotFound
from services.payment.payments.messages import to_event
from services.payment.payments.model import Change, OpenCase, Payment, PaymentUpdate, Refund
from services.payment.payments.repository import FollowedTable, PaymentRepository

_KNOWN_SECONDS: Final = 60.0
"""How long it is remembered how a payment was left: one that is taken at once is settled within seconds."""
_MOST_KNOWN: Final = 2_000


class PaymentStore:
    """Payments, with all that belongs to them.

    What it has just written it remembers, for whoever decides by a version: a change that is made from one that is
    not stored any more is refused, and made anew from what is (docs/decisions/0031).

    Args:
        database: the payment database.
        clock: says when a change was made.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known = Recent[Payment](seconds=_KNOWN_SECONDS, most=_MOST_KNOWN)

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """For changes that are made together with others, see `change_in`."""
        return self._database.transaction()

    async def add(self, payment: Payment, *, update: PaymentUpdate | None = None) -> Payment:
        """The order's payment: this one, unless it has another."""
        events = [] if update is None else [to_event(payment, update, seq=payment.seq, at=payment.created_at)]
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            if await repository.add_payment(payment, events):
                added = payment.model_copy(update={"traceparent": current_traceparent()})
                self._known.put(added.order_id, added)
                return added
            return await _get(repository, payment.order_id)

    async def get(self, order_id: str) -> Payment:
        """The order's payment.

        Raises:
            PaymentNotFound: it has none.
        """
        async with self._database.autocommit() as connection:
            return await _get(PaymentRepository(connection), order_id)

    async def adopt(self, order_id: str, *, user_id: str) -> None:
        """Let an account have the order's payment, if it has one."""
        self._known.forget(order_id)
        async with self._database.autocommit() as connection:
            await PaymentRepository(connection).adopt(order_id, user_id=user_id)

    async def find_by_id(self, payment_id: str) -> Payment | None:
        """One payment."""
        async with self._database.autocommit() as connection:
            return await PaymentRepository(connection).find_by_id(payment_id)

    def recall(self, order_id: str) -> Payment | None:
        """The order's payment as this process left it a moment ago; by now it may have another version."""
        return self._known.get(order_id)

    async def find(self, *, intent_id: str | None, order_id: str | None) -> Payment | None:
        """The payment that has this intent or, when none has, the order's; it may be one that is recalled."""
        known = None if order_id is None else self.recall(order_id)
        if known is not None and intent_id is not None and known.intent_id == intent_id:
            return known
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            return await repository.find_by_intent_or_order(intent_id=intent_id, order_id=order_id)

    async def find_by_refund(self, refund_id: str) -> Payment | None:
        """The payment that a refund is of."""
        async with self._database.autocommit() as connection:
            return await PaymentRepository(connection).find_by_refund(refund_id)

    async def find_by_dispute(self, dispute_id: str) -> Payment | None:
        """The payment that a dispute is about."""
        async with self._database.autocommit() as connection:
            return await PaymentRepository(connection).find_by_dispute(dispute_id)

    async def list_open(self, table: FollowedTable, *, after: str | None, most: int) -> list[OpenCase]:
        """See `services.payment.payments.repository.PaymentRepository.list_open`."""
        async with self._database.autocommit() as connection:
            return await PaymentRepository(connection).list_open(table, after=after, most=most)

    async def apply(self, seen: Payment, change: Change) -> Payment | None:
        """Apply what a re-read found that began after `seen` had been read.

        Returns:
            The payment after it; None when another change came in between: read again.
        """
        async with self._database.autocommit() as connection:
            return await self._write_known(PaymentRepository(connection), seen, change)

    async def follow(self, payment: Payment, look: Callable[[Payment], Awaitable[Change | None]]) -> Payment:
        """Apply what a look at Stripe finds, and look again whenever another change came in between.

        Args:
            payment: as it was read.
            look: asks Stripe what has become of a payment; None where there is nothing to ask.
        """
        while (change := await look(payment)) is not None:
            applied = await self.apply(payment, change)
            if applied is not None:
                return applied
            payment = await self.get(payment.order_id)
        return payment

    async def change(self, stored: Payment, decide: Callable[[Payment], Change | None]) -> Payment:
        """Make the change that is decided on for the payment as it is stored by now; the payment after it.

        Args:
            stored: the payment as it was read.
            decide: called anew for each version of the payment, until the change is made; None is no change.
        """
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            while (change := decide(stored)) is not None:
                written = await self._write_known(repository, stored, change)
                if written is not None:
                    return written
                stored = await _get(repository, stored.order_id)
            return stored

    async def lock_in(self, transaction: Connection, order_id: str) -> Payment:
        """The order's payment, which nobody else changes until the transaction ends.

        Raises:
            PaymentNotFound: it has none.
        """
        repository = PaymentRepository(transaction)
        await repository.lock_payment(order_id)
        return await _get(repository, order_id)

    async def change_in(self, transaction: Connection, locked: Payment, change: Change) -> Payment:
        """Make a change of a payment that the transaction has locked; the payment after it."""
        self._known.forget(locked.order_id)  # whether it is committed, others will know
        written = await self._write(PaymentRepository(transaction), locked, change)
        if written is None:
            raise AssertionError(f"payment {locked.id} changed under its lock")
        return written

    async def _write_known(self, repository: PaymentRepository, stored: Payment, change: Change) -> Payment | None:
        """As `_write`, by a statement that is a transaction; what was written is remembered."""
        self._known.forget(stored.order_id)
        written = await self._write(repository, stored, change)
        if written is not None:
            self._known.put(written.order_id, written)
        return written

    async def _write(self, repository: PaymentRepository, stored: Payment, change: Change) -> Payment | None:
        """Write what a change makes of the payment as it was read; None when it has another version by now."""
        at = self._clock()
        payment = _with_refund_due(change.payment, at=at)
        changed = [_settled(refund, at=at) for refund in payment.refunds if refund not in stored.refunds]
        for refund in changed:
            payment = payment.with_refund(refund)
        events = [
            to_event(payment, update, seq=stored.seq + number, at=at) for number, update in enumerate(change.updates, 1)
        ]
        payment = payment.change(seq=stored.seq + len(events))
        if not payment.is_payable:
            payment = payment.change(client_secret=None)
        written = await repository.change_payment(
            payment,
            events=events,
            attempts=change.attempts,
            refunds=changed,
            disputes=[dispute for dispute in payment.disputes if dispute not in stored.disputes],
        )
        return payment.change(version=stored.version + 1) if written else None


async def _get(repository: PaymentRepository, order_id: str) -> Payment:
    payment = await repository.find_by_order(order_id)
    if payment is None:
        raise PaymentNotFound(order_id)
    return payment


def _with_refund_due(payment: Payment, *, at: datetime) -> Payment:
    """Late money goes back: its refund is made in the statement that finds it, so that it cannot be forgotten."""
    if not payment.amount_outstanding:
        return payment
    refund_id = new_id()
    return payment.with_refund(
        Refund(
            id=refund_id,
            restock_id=refund_id,
            origin=RefundOrigin.VOID,
            amount=payment.amount_outstanding,
            currency=payment.settled_currency,
            status=RefundStatus.REQUESTED,
            created_at=at,
            note="the order ended without being paid",
        )
    )


def _settled(refund: Refund, *, at: datetime) -> Refund:
    """With the moment at which it was first over: the answer to its request goes by that."""
    return refund.model_copy(update={"settled_at": at}) if refund.is_over and refund.settled_at is None else refund
