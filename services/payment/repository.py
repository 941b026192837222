"""SQL of payments, attempts and refunds. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, ScalarSelect, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from domain.payments import PaymentStatus
from runtime.outbox import Event, add_events
from services.payment.stripe_port import FailedCharge
from services.payment.tables import AttemptRow, Outbox, PaymentRow, RefundRow, RefundStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayment:
    """What a payment is opened for; amount in minor units of `currency`. A tombstone has no user."""

    id: str
    order_id: str
    user_id: str | None
    amount: int
    currency: str
    payment_method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment as it is stored, with what its attempts and refunds add up to."""

    id: str
    order_id: str
    user_id: str | None
    amount: int
    currency: str
    payment_method: str | None
    status: PaymentStatus
    intent_id: str | None
    amount_received: int
    currency_received: str | None
    closing: bool
    voided: bool
    generation: int
    generation_at: datetime
    seq: int
    created_at: datetime
    amount_refunded: int
    failed_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """The refund of a voided payment; amount in minor units of `currency`."""

    id: str
    payment_id: str
    amount: int
    currency: str
    status: RefundStatus
    stripe_refund_id: str | None
    failure_reason: str | None
    generation: int


class PaymentRepository:
    """Payments, attempts and refunds, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_payment(self, new: NewPayment, *, status: PaymentStatus, seq: int, voided: bool) -> datetime | None:
        """Make the order's payment, unless it has one; waits for a transaction that is just making it.

        Returns the transaction's time, or None when there was one.
        """
        row = {
            "id": new.id,
            "order_id": new.order_id,
            "user_id": new.user_id,
            "amount": new.amount,
            "currency": new.currency,
            "payment_method": new.payment_method,
            "status": status.value,
            "amount_received": 0,
            "closing": voided,
            "voided": voided,
            "generation": 0,
            "generation_at": func.now(),
            "seq": seq,
            "created_at": func.now(),
            "updated_at": func.now(),
        }
        statement = upsert(PaymentRow).values(row).on_conflict_do_nothing().returning(func.now())
        return (await self._connection.execute(statement)).scalar_one_or_none()

    async def lock_payment(self, order_id: str) -> datetime | None:
        """Hold the order's payment until the end of the transaction, whose time is returned; None without one.

        Read it afterwards: a statement that waited for the lock would see the sums of before.
        """
        statement = select(func.now()).select_from(PaymentRow).where(col(PaymentRow.order_id) == order_id)
        return (await self._connection.execute(statement.with_for_update())).scalar_one_or_none()

    async def find_by_id(self, payment_id: str) -> Payment | None:
        """One payment."""
        return await self._find(col(PaymentRow.id) == payment_id)

    async def find_by_order(self, order_id: str) -> Payment | None:
        """The order's payment."""
        return await self._find(col(PaymentRow.order_id) == order_id)

    async def find_by_intent(self, intent_id: str) -> Payment | None:
        """The payment that has this intent."""
        return await self._find(col(PaymentRow.intent_id) == intent_id)

    async def _find(self, condition: ColumnElement[bool]) -> Payment | None:
        row = PaymentRow
        statement = select(
            *(getattr(row, name) for name in _STORED), _failed_attempts().label("failed"), _refunded().label("refunded")
        ).where(condition)
        found = (await self._connection.execute(statement)).one_or_none()
        if found is None:
            return None
        return Payment(
            **{name: getattr(found, name) for name in _STORED if name != "status"},
            status=PaymentStatus(found.status),
            failed_attempts=found.failed,
            amount_refunded=found.refunded,
        )

    async def save(self, payment: Payment) -> None:
        """Write what changes of a locked payment."""
        await self._connection.execute(
            update(PaymentRow)
            .where(col(PaymentRow.id) == payment.id)
            .values(
                status=payment.status.value,
                intent_id=payment.intent_id,
                amount_received=payment.amount_received,
                currency_received=payment.currency_received,
                closing=payment.closing,
                voided=payment.voided,
                generation=payment.generation,
                generation_at=payment.generation_at,
                seq=payment.seq,
                updated_at=func.now(),
            )
        )

    async def add_event(self, event: Event) -> None:
        """Put an event of a locked payment into the outbox."""
        await add_events(self._connection, Outbox, [event])

    async def add_attempts(self, payment_id: str, charges: Sequence[FailedCharge]) -> int:
        """Write down the failed charges that were not known yet; how many those were."""
        if not charges:
            return 0
        rows = [
            {"charge_id": charge.id, "payment_id": payment_id, "decline_code": charge.decline_code, "at": charge.at}
            for charge in charges
        ]
        statement = upsert(AttemptRow).values(rows).on_conflict_do_nothing().returning(col(AttemptRow.charge_id))
        return len((await self._connection.execute(statement)).all())

    async def add_refund(self, refund_id: str, *, payment_id: str, amount: int, currency: str) -> None:
        """Owe a payment's full refund, unless it is owed already."""
        row = {
            "id": refund_id,
            "payment_id": payment_id,
            "amount": amount,
            "currency": currency,
            "status": RefundStatus.REQUESTED.value,
            "generation": 0,
            "created_at": func.now(),
            "updated_at": func.now(),
        }
        await self._connection.execute(
            upsert(RefundRow).values(row).on_conflict_do_nothing(index_elements=["payment_id"])
        )

    async def find_refund(self, payment_id: str) -> Refund | None:
        """The payment's refund."""
        row = RefundRow
        statement = select(*(getattr(row, name) for name in _STORED_OF_REFUND)).where(col(row.payment_id) == payment_id)
        found = (await self._connection.execute(statement)).one_or_none()
        if found is None:
            return None
        values = {name: getattr(found, name) for name in _STORED_OF_REFUND if name != "status"}
        return Refund(**values, status=RefundStatus(found.status))

    async def save_refund(self, refund: Refund) -> None:
        """Write what changes of the refund of a locked payment."""
        await self._connection.execute(
            update(RefundRow)
            .where(col(RefundRow.id) == refund.id)
            .values(
                status=refund.status.value,
                stripe_refund_id=refund.stripe_refund_id,
                failure_reason=refund.failure_reason,
                generation=refund.generation,
                updated_at=func.now(),
            )
        )


_STORED = (
    "id",
    "order_id",
    "user_id",
    "amount",
    "currency",
    "payment_method",
    "status",
    "intent_id",
    "amount_received",
    "currency_received",
    "closing",
    "voided",
    "generation",
    "generation_at",
    "seq",
    "created_at",
)
_STORED_OF_REFUND = (
    "id",
    "payment_id",
    "amount",
    "currency",
    "status",
    "stripe_refund_id",
    "failure_reason",
    "generation",
)


def _failed_attempts() -> ScalarSelect[int]:
    counted = select(func.count()).where(col(AttemptRow.payment_id) == col(PaymentRow.id))
    return counted.correlate(PaymentRow).scalar_subquery()


def _refunded() -> ScalarSelect[int]:
    total = cast(func.coalesce(func.sum(col(RefundRow.amount)), 0), BigInteger)
    summed = select(total).where(
        col(RefundRow.payment_id) == col(PaymentRow.id), col(RefundRow.status) == RefundStatus.SUCCEEDED.value
    )
    return summed.correlate(PaymentRow).scalar_subquery()
