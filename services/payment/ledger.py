"""What is written down about payments and their attempts; see `services.payment.changes` for how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from domain.ids import new_id
from domain.payments import PaymentStatus
from runtime.database import Database
from services.payment.changes import Change, News, change_payment, get_payment, make_event, write
from services.payment.model import NewPayment, Payment
from services.payment.repository import PaymentRepository
from services.payment.stripe_port import FailedCharge, Intent

log = structlog.stdlib.get_logger(__name__)

NO_CURRENCY = "XXX"
"""ISO 4217's code where there is no currency: a tombstone's."""

_STATUS_UPDATED = News(type="payment.status-updated")


class PaymentLedger:
    """Payments and attempts as they are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, new: NewPayment) -> Payment:
        """The order's payment, made of `new` unless it has one."""
        payment = _opened(new, at=datetime.now(UTC))
        event = make_event(payment, News(type="payment.created"), at=payment.created_at)
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            if await repository.add_payment(payment, [event]):
                return payment
            return await get_payment(repository, new.order_id)

    async def get(self, order_id: str) -> Payment:
        """The order's payment.

        Raises:
            PaymentNotFound: it has none.
        """
        async with self._database.autocommit() as connection:
            return await get_payment(PaymentRepository(connection), order_id)

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

        def keep(stored: Payment) -> Change | None:
            if stored.intent_id is not None:
                if stored.intent_id != intent.id:
                    log.error("intent.orphaned", payment_id=stored.id, intent_id=intent.id, kept=stored.intent_id)
                return None
            status = stored.status if stored.status.is_final else intent.status
            kept = _received(replace(stored, intent_id=intent.id, status=status), intent)
            return Change(payment=kept, news=[_STATUS_UPDATED])

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
                change = Change(payment=found, news=[_STATUS_UPDATED], attempts=new)
                written = await write(repository, seen, change)
                if written is not None:
                    return written
            stored = await get_payment(repository, seen.order_id)
            return stored if stored.version == seen.version or stored.status.is_final else None

    async def next_generation(self, payment: Payment) -> Payment:
        """Go on to the next generation of idempotency keys, unless somebody did so since `payment` was read."""

        def move_on(stored: Payment) -> Change | None:
            if stored.generation != payment.generation:
                return None
            return Change(payment=replace(stored, generation=stored.generation + 1, generation_at=datetime.now(UTC)))

        return await self._change(payment.order_id, move_on, seen=payment)

    async def close(self, order_id: str) -> Payment:
        """Note that nobody shall pay any more.

        Raises:
            PaymentNotFound: the order has no payment.
        """
        return await self._change(
            order_id, lambda stored: None if stored.closing else Change(payment=replace(stored, closing=True))
        )

    async def void(self, order_id: str) -> Payment:
        """Note that the order's payment is undone, and owe what came in; a late open is refused."""
        tombstone = _voided(order_id, at=datetime.now(UTC))
        async with self._database.autocommit() as connection:
            if await PaymentRepository(connection).add_payment(tombstone, []):
                return tombstone
        return await self._change(
            order_id,
            lambda stored: None if stored.voided else Change(payment=replace(stored, closing=True, voided=True)),
        )

    async def cancel_unmade(self, payment: Payment) -> Payment:
        """End a payment for which Stripe refused to make an intent."""

        def cancel(stored: Payment) -> Change | None:
            if stored.intent_id is not None or stored.status.is_final:
                return None
            return Change(payment=replace(stored, status=PaymentStatus.CANCELLED), news=[_STATUS_UPDATED])

        return await self._change(payment.order_id, cancel, seen=payment)

    async def _change(
        self, order_id: str, decide: Callable[[Payment], Change | None], *, seen: Payment | None = None
    ) -> Payment:
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            return await change_payment(repository, seen or await get_payment(repository, order_id), decide)


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
