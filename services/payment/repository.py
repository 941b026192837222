"""SQL of payments, attempts and refunds. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from domain.payments import PaymentStatus
from runtime.database import Connection, encode_rows
from runtime.outbox import Event, encode_events, with_events
from services.payment.stripe_port import FailedCharge
from services.payment.tables import RefundStatus


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
    version: int
    created_at: datetime
    failed_charges: frozenset[str]
    """Ids of the charges that failed: one attempt each."""
    amount_refunded: int

    @property
    def failed_attempts(self) -> int:
        """Failed charges, each counted once however it was seen."""
        return len(self.failed_charges)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedRefund:
    """The full refund that a payment comes to owe; amount in minor units of `currency`."""

    id: str
    amount: int
    currency: str


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


_ADD_PAYMENT: Final = with_events("""
    changed AS (
        INSERT INTO payments (id, order_id, user_id, amount, currency, payment_method, status, intent_id,
                              amount_received, currency_received, closing, voided, generation, generation_at, seq,
                              version, created_at, updated_at)
        VALUES (%(id)s, %(order_id)s, %(user_id)s, %(amount)s, %(currency)s, %(payment_method)s, %(status)s,
                %(intent_id)s, %(amount_received)s, %(currency_received)s, %(closing)s, %(voided)s, %(generation)s,
                %(generation_at)s, %(seq)s, %(version)s, %(created_at)s, %(created_at)s)
        ON CONFLICT DO NOTHING
        RETURNING id
    )
""")
_CHANGE_PAYMENT: Final = with_events("""
    changed AS (
        UPDATE payments
           SET status = %(status)s, intent_id = %(intent_id)s, amount_received = %(amount_received)s,
               currency_received = %(currency_received)s, closing = %(closing)s, voided = %(voided)s,
               generation = %(generation)s, generation_at = %(generation_at)s, seq = %(seq)s,
               version = version + 1, updated_at = now()
         WHERE id = %(id)s AND version = %(version)s
        RETURNING id
    ),
    attempt AS (
        INSERT INTO payment_attempts (charge_id, payment_id, decline_code, at)
        SELECT charge.id, changed.id, charge.decline_code, charge.at
          FROM changed, json_to_recordset(%(attempts)s::json) AS charge (id text, decline_code text, at timestamptz)
        ON CONFLICT DO NOTHING
    ),
    owed AS (
        INSERT INTO refunds (id, payment_id, amount, currency, status, generation, created_at, updated_at)
        SELECT refund.id, changed.id, refund.amount, refund.currency, 'REQUESTED', 0, now(), now()
          FROM changed, json_to_recordset(%(refunds)s::json) AS refund (id uuid, amount bigint, currency text)
        ON CONFLICT (payment_id) DO NOTHING
    )
""")
_PAYMENT: Final = """
    SELECT id, order_id, user_id, amount, currency, payment_method, status, intent_id, amount_received,
           currency_received, closing, voided, generation, generation_at, seq, version, created_at,
           ARRAY(SELECT charge_id FROM payment_attempts WHERE payment_id = payments.id) AS failed_charges,
           (SELECT coalesce(sum(amount), 0)::bigint FROM refunds
             WHERE payment_id = payments.id AND status = 'SUCCEEDED') AS amount_refunded
      FROM payments
"""


class PaymentRepository:
    """Payments, attempts and refunds, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_payment(self, payment: Payment, events: Sequence[Event]) -> bool:
        """Write a new payment with its events, unless its order has one; waits for a twin that is just written."""
        added = await self._connection.execute(_ADD_PAYMENT, **asdict(payment), events=encode_events(events))
        return added == 1

    async def find_by_id(self, payment_id: str) -> Payment | None:
        """One payment."""
        return await self._connection.fetch_one(
            _to_payment, f"{_PAYMENT} WHERE id = %(payment_id)s", payment_id=payment_id
        )

    async def find_by_order(self, order_id: str) -> Payment | None:
        """The order's payment."""
        return await self._connection.fetch_one(
            _to_payment, f"{_PAYMENT} WHERE order_id = %(order_id)s", order_id=order_id
        )

    async def find_by_intent(self, intent_id: str) -> Payment | None:
        """The payment that has this intent."""
        return await self._connection.fetch_one(
            _to_payment, f"{_PAYMENT} WHERE intent_id = %(intent_id)s", intent_id=intent_id
        )

    async def change_payment(
        self,
        payment: Payment,
        *,
        events: Sequence[Event],
        attempts: Sequence[FailedCharge] = (),
        owed: OwedRefund | None = None,
    ) -> bool:
        """Write what has become of the payment's version, with what belongs to it.

        Returns:
            False, and nothing is changed, when it has another version by now.
        """
        changed = await self._connection.execute(
            _CHANGE_PAYMENT,
            **asdict(payment),
            attempts=encode_rows(asdict(charge) for charge in attempts),
            refunds=encode_rows([] if owed is None else [asdict(owed)]),
            events=encode_events(events),
        )
        return changed == 1

    async def lock_payment(self, payment_id: str) -> None:
        """Hold the payment until the end of the transaction.

        Read it afterwards: a statement that waited for the lock would see the sums of before.
        """
        await self._connection.execute(
            "SELECT FROM payments WHERE id = %(payment_id)s FOR UPDATE", payment_id=payment_id
        )

    async def find_refund(self, payment_id: str) -> Refund | None:
        """The payment's refund."""
        return await self._connection.fetch_one(
            _to_refund,
            """
            SELECT id, payment_id, amount, currency, status, stripe_refund_id, failure_reason, generation
              FROM refunds WHERE payment_id = %(payment_id)s
            """,
            payment_id=payment_id,
        )

    async def save_refund(self, refund: Refund) -> None:
        """Write what changes of the refund of a locked payment."""
        await self._connection.execute(
            """
            UPDATE refunds
               SET status = %(status)s, stripe_refund_id = %(stripe_refund_id)s, failure_reason = %(failure_reason)s,
                   generation = %(generation)s, updated_at = now()
             WHERE id = %(id)s
            """,
            **asdict(refund),
        )


def _to_payment(*, status: str, failed_charges: Sequence[str], **others: Any) -> Payment:
    return Payment(status=PaymentStatus(status), failed_charges=frozenset(failed_charges), **others)


def _to_refund(*, status: str, **others: Any) -> Refund:
    return Refund(status=RefundStatus(status), **others)
