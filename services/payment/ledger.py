"""What is written down about payments: each change is one statement, with the event of what it changed.

Nothing here talks to Stripe, so no transaction, lock or pooled connection is ever held while Stripe is asked. Instead
a change is made from a version of the payment, and is refused when the payment has another one by then. What was read
at Stripe after a version had been read may be applied exactly as long as the version is still the same: otherwise
another re-read may have come first, may know more, and this one is done again. So a late re-read never overwrites a
newer one, across processes too, and a slow Stripe cannot use up the connections that webhooks need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import PAYMENT_EVENTS
from domain.ids import new_id
from domain.payments import PaymentStatus
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from runtime.database import Database
from runtime.outbox import Event
from services.payment.errors import PaymentNotFound
from services.payment.repository import NewPayment, OwedRefund, Payment, PaymentRepository, Refund
from services.payment.stripe_port import FailedCharge, Intent, MadeRefund
from services.payment.tables import RefundStatus

log = structlog.stdlib.get_logger(__name__)

NO_CURRENCY = "XXX"
"""ISO 4217's code where there is no currency: a tombstone's."""

_ORDER = tuple(RefundStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What becomes of a payment; without an event type nobody outside is told."""

    payment: Payment
    event_type: str | None = None
    attempts: Sequence[FailedCharge] = ()


class PaymentLedger:
    """Payments, attempts and refunds as they are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, new: NewPayment) -> Payment:
        """The order's payment, made of `new` unless it has one."""
        payment = _opened(new, at=datetime.now(UTC))
        event = _event(payment, "payment.created", at=payment.created_at)
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            if await repository.add_payment(payment, [event]):
                return payment
            return await _get(repository, new.order_id)

    async def get(self, order_id: str) -> Payment:
        """The order's payment.

        Raises:
            PaymentNotFound: it has none.
        """
        async with self._database.autocommit() as connection:
            return await _get(PaymentRepository(connection), order_id)

    async def find_by_id(self, payment_id: str) -> Payment | None:
        """One payment."""
        async with self._database.autocommit() as connection:
            return await PaymentRepository(connection).find_by_id(payment_id)

    async def find(self, *, intent_id: str | None, order_id: str | None) -> Payment | None:
        """The payment that has this intent or, when none has, the order's."""
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            payment = None if intent_id is None else await repository.find_by_intent(intent_id)
            if payment is None and order_id is not None:
                payment = await repository.find_by_order(order_id)
            return payment

    async def keep_intent(self, payment: Payment, intent: Intent) -> Payment:
        """Give the payment its one intent; one that it has already stays."""

        def keep(stored: Payment) -> _Change | None:
            if stored.intent_id is not None:
                if stored.intent_id != intent.id:
                    log.error("intent.orphaned", payment_id=stored.id, intent_id=intent.id, kept=stored.intent_id)
                return None
            status = stored.status if stored.status.is_final else intent.status
            kept = _received(replace(stored, intent_id=intent.id, status=status), intent)
            return _Change(payment=kept, event_type="payment.status-updated")

        return await self._change(payment.order_id, keep, seen=payment)

    async def apply(self, seen: Payment, intent: Intent, failed: Sequence[FailedCharge]) -> Payment | None:
        """Write down what a re-read found that began after `seen` had been read.

        Returns:
            The payment as it is now; None when another change came in between: read again.
        """
        new = [charge for charge in failed if charge.id not in seen.failed_charges]
        charges = seen.failed_charges.union(charge.id for charge in new)
        found = _received(replace(seen, status=intent.status, failed_charges=charges), intent)
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            if found != seen and not seen.status.is_final:
                change = _Change(payment=found, event_type="payment.status-updated", attempts=new)
                written = await _write(repository, change)
                if written is not None:
                    return written
            stored = await _get(repository, seen.order_id)
            return stored if stored.version == seen.version or stored.status.is_final else None

    async def next_generation(self, payment: Payment) -> Payment:
        """Go on to the next generation of idempotency keys, unless somebody did so since `payment` was read."""

        def move_on(stored: Payment) -> _Change | None:
            if stored.generation != payment.generation:
                return None
            return _Change(payment=replace(stored, generation=stored.generation + 1, generation_at=datetime.now(UTC)))

        return await self._change(payment.order_id, move_on, seen=payment)

    async def close(self, order_id: str) -> Payment:
        """Note that nobody shall pay any more.

        Raises:
            PaymentNotFound: the order has no payment.
        """
        return await self._change(
            order_id, lambda stored: None if stored.closing else _Change(payment=replace(stored, closing=True))
        )

    async def void(self, order_id: str) -> Payment:
        """Note that the order's payment is undone, and owe its refund if it succeeded; a late open is refused."""
        tombstone = _voided(order_id, at=datetime.now(UTC))
        async with self._database.autocommit() as connection:
            if await PaymentRepository(connection).add_payment(tombstone, []):
                return tombstone
        return await self._change(
            order_id,
            lambda stored: None if stored.voided else _Change(payment=replace(stored, closing=True, voided=True)),
        )

    async def cancel_unmade(self, payment: Payment) -> Payment:
        """End a payment for which Stripe refused to make an intent."""

        def cancel(stored: Payment) -> _Change | None:
            if stored.intent_id is not None or stored.status.is_final:
                return None
            cancelled = replace(stored, status=PaymentStatus.CANCELLED)
            return _Change(payment=cancelled, event_type="payment.status-updated")

        return await self._change(payment.order_id, cancel, seen=payment)

    async def find_refund(self, payment: Payment) -> Refund | None:
        """The refund that the payment owes or owed."""
        async with self._database.autocommit() as connection:
            return await PaymentRepository(connection).find_refund(payment.id)

    async def settle_refund(self, payment: Payment, refund: Refund, made: MadeRefund) -> Refund:
        """Write down what became of a refund at Stripe."""
        async with self._locked(payment) as (repository, locked):
            stored = await repository.find_refund(payment.id)
            # Stripe's refunds go through these states in this order only, so an earlier one is an older look.
            if stored is None or _ORDER.index(made.status) < _ORDER.index(stored.status):
                return stored or refund
            settled = replace(stored, status=made.status, stripe_refund_id=made.id, failure_reason=made.failure_reason)
            await repository.save_refund(settled)
            if settled.status is not stored.status and settled.status is not RefundStatus.PENDING:
                succeeded = settled.status is RefundStatus.SUCCEEDED
                await _write(
                    repository,
                    _Change(
                        payment=replace(locked, amount_refunded=settled.amount if succeeded else 0),
                        event_type="payment.refunded" if succeeded else "payment.refund_failed",
                    ),
                )
            return settled

    async def next_refund_generation(self, payment: Payment, refund: Refund, *, reason: str | None) -> None:
        """Go on to the refund's next idempotency key; `reason` says why the last one made no refund."""
        async with self._locked(payment) as (repository, _):
            stored = await repository.find_refund(payment.id)
            if stored is not None and stored.generation == refund.generation:
                await repository.save_refund(replace(stored, generation=stored.generation + 1, failure_reason=reason))

    async def _change(
        self, order_id: str, decide: Callable[[Payment], _Change | None], *, seen: Payment | None = None
    ) -> Payment:
        """Make the change that is decided on for the payment as it is stored; the payment after it.

        Raises:
            PaymentNotFound: the order has no payment.
        """
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            stored = seen or await _get(repository, order_id)
            while (change := decide(stored)) is not None:
                written = await _write(repository, change)
                if written is not None:
                    return written
                stored = await _get(repository, order_id)
            return stored

    @asynccontextmanager
    async def _locked(self, payment: Payment) -> AsyncIterator[tuple[PaymentRepository, Payment]]:
        """The payment, held until the end of the block."""
        async with self._database.transaction() as connection:
            repository = PaymentRepository(connection)
            await repository.lock_payment(payment.id)
            yield repository, await _get(repository, payment.order_id)


async def _get(repository: PaymentRepository, order_id: str) -> Payment:
    payment = await repository.find_by_order(order_id)
    if payment is None:
        raise PaymentNotFound(order_id)
    return payment


async def _write(repository: PaymentRepository, change: _Change) -> Payment | None:
    """Write a change with its event; the payment after it, or None when it was made from an older version.

    Late money goes back: the refund is owed in the statement that learns of it, so that it cannot be forgotten.
    """
    payment = change.payment
    events = []
    if change.event_type is not None:
        payment = replace(payment, seq=payment.seq + 1)
        events.append(_event(payment, change.event_type, at=datetime.now(UTC)))
    owed = None
    if payment.voided and payment.status is PaymentStatus.SUCCEEDED:
        owed = OwedRefund(
            id=new_id(), amount=payment.amount_received, currency=payment.currency_received or payment.currency
        )
    if not await repository.change_payment(payment, events=events, attempts=change.attempts, owed=owed):
        return None
    return replace(payment, version=payment.version + 1)


def _opened(new: NewPayment, *, at: datetime) -> Payment:
    return Payment(
        id=new.id,
        order_id=new.order_id,
        user_id=new.user_id,
        amount=new.amount,
        currency=new.currency,
        payment_method=new.payment_method,
        status=PaymentStatus.OPENING,
        intent_id=None,
        amount_received=0,
        currency_received=None,
        closing=False,
        voided=False,
        generation=0,
        generation_at=at,
        seq=1,
        version=0,
        created_at=at,
        failed_charges=frozenset(),
        amount_refunded=0,
    )


def _voided(order_id: str, *, at: datetime) -> Payment:
    """The tombstone of a void that came first."""
    nothing = NewPayment(
        id=new_id(), order_id=order_id, user_id=None, amount=0, currency=NO_CURRENCY, payment_method=None
    )
    return replace(_opened(nothing, at=at), status=PaymentStatus.CANCELLED, closing=True, voided=True, seq=0)


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
