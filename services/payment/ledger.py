"""What is written down about payments: each method is one transaction, with the event of what it changed.

Nothing here talks to Stripe, so no transaction, lock or pooled connection is ever held while Stripe is asked. Instead
a re-read is guarded by the payment's `seq`: it counts every change of what a re-read can change, so what was read at
Stripe after `seq` had been read may be applied exactly as long as `seq` is still the same. Otherwise another re-read
came first, may know more, and this one is done again. So a late re-read never overwrites a newer one, across processes
too, and a slow Stripe cannot use up the connections that webhooks need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import PAYMENT_EVENTS
from domain.ids import new_id
from domain.payments import PaymentStatus
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from runtime.database import Database
from runtime.outbox import Event
from services.payment.errors import PaymentNotFound
from services.payment.repository import NewPayment, Payment, PaymentRepository, Refund
from services.payment.stripe_port import FailedCharge, Intent, MadeRefund
from services.payment.tables import RefundStatus

log = structlog.stdlib.get_logger(__name__)

NO_CURRENCY = "XXX"
"""ISO 4217's code where there is no currency: a tombstone's."""

_ORDER = tuple(RefundStatus)


@dataclass(frozen=True, slots=True)
class _Locked:
    """A payment that this transaction holds, and its time."""

    repository: PaymentRepository
    payment: Payment
    at: datetime

    async def change(self, payment: Payment, event_type: str) -> Payment:
        """Save the payment with an event of its own."""
        payment = replace(payment, seq=payment.seq + 1)
        await self.repository.save(payment)
        await self.repository.add_event(_event(payment, event_type, at=self.at))
        if payment.voided and payment.status is PaymentStatus.SUCCEEDED:
            await self.owe_refund(payment)
        return payment

    async def owe_refund(self, payment: Payment) -> None:
        """Late money goes back: in the transaction that learns of it, so that it cannot be forgotten."""
        await self.repository.add_refund(
            new_id(),
            payment_id=payment.id,
            amount=payment.amount_received,
            currency=payment.currency_received or payment.currency,
        )


class PaymentLedger:
    """Payments, attempts and refunds as they are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, new: NewPayment) -> Payment:
        """The order's payment, made of `new` unless it has one."""
        async with self._database.transaction() as connection:
            repository = PaymentRepository(connection)
            at = await repository.add_payment(new, status=PaymentStatus.OPENING, seq=1, voided=False)
            payment = await repository.find_by_order(new.order_id)
            if payment is None:
                raise LookupError(f"payment of order {new.order_id} was deleted")
            if at is not None:
                await repository.add_event(_event(payment, "payment.created", at=at))
            return payment

    async def get(self, order_id: str) -> Payment:
        """The order's payment.

        Raises:
            PaymentNotFound: it has none.
        """
        payment = await self.find(intent_id=None, order_id=order_id)
        if payment is None:
            raise PaymentNotFound(order_id)
        return payment

    async def find_by_id(self, payment_id: str) -> Payment | None:
        """One payment."""
        async with self._database.transaction() as connection:
            return await PaymentRepository(connection).find_by_id(payment_id)

    async def find(self, *, intent_id: str | None, order_id: str | None) -> Payment | None:
        """The payment that has this intent or, when none has, the order's."""
        async with self._database.transaction() as connection:
            repository = PaymentRepository(connection)
            payment = None if intent_id is None else await repository.find_by_intent(intent_id)
            if payment is None and order_id is not None:
                payment = await repository.find_by_order(order_id)
            return payment

    async def keep_intent(self, payment: Payment, intent: Intent) -> Payment:
        """Give the payment its one intent; one that it has already stays."""
        async with self._locked(payment.order_id) as locked:
            stored = locked.payment
            if stored.intent_id is not None:
                if stored.intent_id != intent.id:
                    log.error("intent.orphaned", payment_id=stored.id, intent_id=intent.id, kept=stored.intent_id)
                return stored
            status = stored.status if stored.status.is_final else intent.status
            return await locked.change(
                _received(replace(stored, intent_id=intent.id, status=status), intent), "payment.status-updated"
            )

    async def apply(self, seen: Payment, intent: Intent, failed: Sequence[FailedCharge]) -> Payment | None:
        """Write down what a re-read found that began after `seen` had been read.

        Returns:
            The payment as it is now; None when another change came in between: read again.
        """
        async with self._locked(seen.order_id) as locked:
            stored = locked.payment
            is_newest = stored.seq == seen.seq and not stored.status.is_final
            found = _received(replace(stored, status=intent.status), intent) if is_newest else stored
            attempts = await locked.repository.add_attempts(stored.id, failed)
            found = replace(found, failed_attempts=stored.failed_attempts + attempts)
            if found != stored:
                found = await locked.change(found, "payment.status-updated")
            return found if is_newest or found.status.is_final else None

    async def next_generation(self, payment: Payment) -> Payment:
        """Go on to the next generation of idempotency keys, unless somebody did so since `payment` was read."""
        async with self._locked(payment.order_id) as locked:
            stored = locked.payment
            if stored.generation == payment.generation:
                stored = replace(stored, generation=stored.generation + 1, generation_at=locked.at)
                await locked.repository.save(stored)
            return stored

    async def close(self, order_id: str) -> Payment:
        """Note that nobody shall pay any more.

        Raises:
            PaymentNotFound: the order has no payment.
        """
        async with self._locked(order_id) as locked:
            closing = replace(locked.payment, closing=True)
            await locked.repository.save(closing)
            return closing

    async def void(self, order_id: str) -> Payment:
        """Note that the order's payment is undone, and owe its refund if it succeeded; a late open is refused."""
        tombstone = NewPayment(
            id=new_id(), order_id=order_id, user_id=None, amount=0, currency=NO_CURRENCY, payment_method=None
        )
        async with self._locked(order_id, tombstone) as locked:
            voided = replace(locked.payment, closing=True, voided=True)
            await locked.repository.save(voided)
            if voided.status is PaymentStatus.SUCCEEDED:
                await locked.owe_refund(voided)
            return voided

    async def cancel_unmade(self, payment: Payment) -> Payment:
        """End a payment for which Stripe refused to make an intent."""
        async with self._locked(payment.order_id) as locked:
            stored = locked.payment
            if stored.intent_id is not None or stored.status.is_final:
                return stored
            return await locked.change(replace(stored, status=PaymentStatus.CANCELLED), "payment.status-updated")

    async def find_refund(self, payment: Payment) -> Refund | None:
        """The refund that the payment owes or owed."""
        async with self._database.transaction() as connection:
            return await PaymentRepository(connection).find_refund(payment.id)

    async def settle_refund(self, payment: Payment, refund: Refund, made: MadeRefund) -> Refund:
        """Write down what became of a refund at Stripe."""
        async with self._locked(payment.order_id) as locked:
            stored = await locked.repository.find_refund(payment.id)
            # Stripe's refunds go through these states in this order only, so an earlier one is an older look.
            if stored is None or _ORDER.index(made.status) < _ORDER.index(stored.status):
                return stored or refund
            settled = replace(stored, status=made.status, stripe_refund_id=made.id, failure_reason=made.failure_reason)
            await locked.repository.save_refund(settled)
            if settled.status is not stored.status and settled.status is not RefundStatus.PENDING:
                succeeded = settled.status is RefundStatus.SUCCEEDED
                await locked.change(
                    replace(locked.payment, amount_refunded=settled.amount if succeeded else 0),
                    "payment.refunded" if succeeded else "payment.refund_failed",
                )
            return settled

    async def next_refund_generation(self, payment: Payment, refund: Refund, *, reason: str | None) -> None:
        """Go on to the refund's next idempotency key; `reason` says why the last one made no refund."""
        async with self._locked(payment.order_id) as locked:
            stored = await locked.repository.find_refund(payment.id)
            if stored is not None and stored.generation == refund.generation:
                await locked.repository.save_refund(
                    replace(stored, generation=stored.generation + 1, failure_reason=reason)
                )

    @asynccontextmanager
    async def _locked(self, order_id: str, tombstone: NewPayment | None = None) -> AsyncIterator[_Locked]:
        async with self._database.transaction() as connection:
            repository = PaymentRepository(connection)
            if tombstone is not None:
                await repository.add_payment(tombstone, status=PaymentStatus.CANCELLED, seq=0, voided=True)
            at = await repository.lock_payment(order_id)
            payment = await repository.find_by_order(order_id)
            if at is None or payment is None:
                raise PaymentNotFound(order_id)
            yield _Locked(repository, payment, at)


def _received(payment: Payment, intent: Intent) -> Payment:
    """With what the intent brought in, in the currency in which it did: the saga compares it with what it asked for."""
    if payment.status is not PaymentStatus.SUCCEEDED:
        return payment
    return replace(payment, amount_received=intent.amount_received, currency_received=intent.currency)


def _event(payment: Payment, event_type: str, *, at: datetime) -> Event:
    changed_at = Timestamp()
    changed_at.FromDatetime(at)
    return Event(
        topic=PAYMENT_EVENTS,
        key=payment.order_id,
        type=event_type,
        aggregate="payment",
        aggregate_id=payment.id,
        seq=payment.seq,
        cause_id=payment.order_id,
        data=PaymentChanged(
            payment_id=payment.id,
            order_id=payment.order_id,
            status=payment.status.value,
            amount=payment.amount,
            currency=payment.currency,
            amount_received=payment.amount_received,
            amount_refunded=payment.amount_refunded,
            failed_attempts=payment.failed_attempts,
            at=changed_at,
        ),
        at=at,
    )
