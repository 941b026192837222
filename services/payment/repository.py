"""SQL of payments and what belongs to them. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from domain.orders import OrderLine
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from runtime.database import Connection, encode_rows
from runtime.outbox import Event, encode_events, with_events
from services.payment.model import Dispute, KnownKey, Payment, Refund
from services.payment.stripe_port import FailedCharge

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
REFUNDS_CHANNEL: Final = "refunds"
"""NOTIFY channel: the payload is the id of a refund that changed."""

_CHANGE_PAYMENT: Final = with_events(f"""
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
    refund AS (
        INSERT INTO refunds (id, payment_id, origin, amount, currency, status, stripe_refund_id, failure_reason,
                             generation, restock, restock_id, requested_by, why, version, saga_open, woken_version,
                             next_look_at, created_at, updated_at)
        SELECT refund.id, changed.id, refund.origin, refund.amount, refund.currency, refund.status,
               refund.stripe_refund_id, refund.failure_reason, refund.generation, refund.restock, refund.restock_id,
               refund.requested_by, refund.why, refund.version, refund.saga_open, 0, now() + interval '5 s',
               refund.created_at, now()
          FROM changed, json_to_recordset(%(refunds)s::json) AS refund (
               id uuid, origin text, amount bigint, currency text, status text, stripe_refund_id text,
               failure_reason text, generation int, restock jsonb, restock_id uuid, requested_by uuid, why text,
               version bigint, saga_open bool, created_at timestamptz)
        ON CONFLICT (id) DO UPDATE
           SET status = excluded.status, stripe_refund_id = excluded.stripe_refund_id,
               failure_reason = excluded.failure_reason, generation = excluded.generation,
               version = excluded.version, saga_open = excluded.saga_open, updated_at = excluded.updated_at
        RETURNING pg_notify('{REFUNDS_CHANNEL}', id::text)
    ),
    dispute AS (
        INSERT INTO disputes (id, payment_id, status, reason, amount, currency, withdrawn, respond_by, version,
                              saga_open, woken_version, next_look_at, created_at, updated_at)
        SELECT dispute.id, changed.id, dispute.status, dispute.reason, dispute.amount, dispute.currency,
               dispute.withdrawn, dispute.respond_by, dispute.version, dispute.saga_open, 0, now() + interval '5 s',
               dispute.created_at, now()
          FROM changed, json_to_recordset(%(disputes)s::json) AS dispute (
               id text, status text, reason text, amount bigint, currency text, withdrawn bigint,
               respond_by timestamptz, version bigint, saga_open bool, created_at timestamptz)
        ON CONFLICT (id) DO UPDATE
           SET status = excluded.status, reason = excluded.reason, amount = excluded.amount,
               withdrawn = excluded.withdrawn, respond_by = excluded.respond_by, version = excluded.version,
               saga_open = excluded.saga_open, updated_at = excluded.updated_at
    )
""")  # noqa: S608 - put together from constants
_PAYMENT: Final = """
    SELECT id, order_id, user_id, amount, currency, payment_method, status, intent_id, amount_received,
           currency_received, closing, voided, generation, generation_at, seq, version, created_at,
           ARRAY(SELECT charge_id FROM payment_attempts WHERE payment_id = payments.id) AS failed_charges,
           (SELECT json_agg(json_build_object(
                       'id', id, 'origin', origin, 'amount', amount, 'currency', currency, 'status', status,
                       'stripe_refund_id', stripe_refund_id, 'failure_reason', failure_reason,
                       'generation', generation, 'restock', restock, 'restock_id', restock_id,
                       'requested_by', requested_by, 'why', why,
                       'version', version, 'saga_open', saga_open, 'created_at', created_at) ORDER BY created_at, id)
              FROM refunds WHERE payment_id = payments.id) AS refunds,
           (SELECT json_agg(json_build_object(
                       'id', id, 'status', status, 'reason', reason, 'amount', amount, 'currency', currency,
                       'withdrawn', withdrawn, 'respond_by', respond_by, 'version', version,
                       'saga_open', saga_open, 'created_at', created_at) ORDER BY created_at, id)
              FROM disputes WHERE payment_id = payments.id) AS disputes
      FROM payments
"""
_PAYMENT_OF_REFUND: Final = f"""
    {_PAYMENT} WHERE id = (SELECT payment_id FROM refunds WHERE id = %(refund_id)s)
"""  # noqa: S608 - put together from constants
_PAYMENT_OF_DISPUTE: Final = f"""
    {_PAYMENT} WHERE id = (SELECT payment_id FROM disputes WHERE id = %(dispute_id)s)
"""  # noqa: S608 - put together from constants


class PaymentRepository:
    """Payments with their attempts, refunds and disputes, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_payment(self, payment: Payment, events: Sequence[Event]) -> bool:
        """Write a new payment with its events, unless its order has one; waits for a twin that is just written."""
        added = await self._connection.execute(_ADD_PAYMENT, **_columns(payment), events=encode_events(events))
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

    async def find_by_refund(self, refund_id: str) -> Payment | None:
        """The payment that this refund is of."""
        return await self._connection.fetch_one(
            _to_payment,
            _PAYMENT_OF_REFUND,
            refund_id=refund_id,
        )

    async def find_by_dispute(self, dispute_id: str) -> Payment | None:
        """The payment that this dispute is about."""
        return await self._connection.fetch_one(
            _to_payment,
            _PAYMENT_OF_DISPUTE,
            dispute_id=dispute_id,
        )

    async def change_payment(
        self,
        payment: Payment,
        *,
        events: Sequence[Event],
        attempts: Sequence[FailedCharge] = (),
        refunds: Sequence[Refund] = (),
        disputes: Sequence[Dispute] = (),
    ) -> bool:
        """Write what has become of the payment's version, with those of its refunds and disputes that changed.

        Returns:
            False, and nothing is changed, when it has another version by now.
        """
        changed = await self._connection.execute(
            _CHANGE_PAYMENT,
            **_columns(payment),
            attempts=encode_rows(asdict(charge) for charge in attempts),
            refunds=encode_rows(asdict(refund) for refund in refunds),
            disputes=encode_rows(asdict(dispute) for dispute in disputes),
            events=encode_events(events),
        )
        return changed == 1

    async def lock_payment(self, order_id: str) -> None:
        """Hold the order's payment until the end of the transaction; read it afterwards."""
        await self._connection.execute(
            "SELECT FROM payments WHERE order_id = %(order_id)s FOR UPDATE", order_id=order_id
        )

    async def claim_key(self, *, user_id: str, route: str, key: str, request_hash: str, refund_id: str) -> bool:
        """Let the key stand for the refund, unless it is taken; waits for a twin that is just taking it."""
        claimed = await self._connection.execute(
            """
            INSERT INTO idempotency_keys (user_id, route, key, request_hash, refund_id, accepted_only, created_at)
            VALUES (%(user_id)s, %(route)s, %(key)s, %(request_hash)s, %(refund_id)s, false, now())
            ON CONFLICT DO NOTHING
            """,
            user_id=user_id,
            route=route,
            key=key,
            request_hash=request_hash,
            refund_id=refund_id,
        )
        return claimed == 1

    async def get_key(self, *, user_id: str, route: str, key: str) -> KnownKey:
        """The refund that a taken key stands for.

        Raises:
            LookupError: nobody took it.
        """
        known = await self._connection.fetch_one(
            KnownKey,
            """
            SELECT refund_id, request_hash, accepted_only FROM idempotency_keys
             WHERE user_id = %(user_id)s AND route = %(route)s AND key = %(key)s
            """,
            user_id=user_id,
            route=route,
            key=key,
        )
        if known is None:
            raise LookupError(f"key {key!r} of user {user_id} stands for nothing")
        return known

    async def set_accepted_only(self, *, user_id: str, route: str, key: str) -> None:
        """Note that the key's first answer came before its refund succeeded or failed."""
        await self._connection.execute(
            """
            UPDATE idempotency_keys SET accepted_only = true
             WHERE user_id = %(user_id)s AND route = %(route)s AND key = %(key)s
            """,
            user_id=user_id,
            route=route,
            key=key,
        )


def _columns(payment: Payment) -> dict[str, object]:
    """The payment's own columns."""
    return {
        "id": payment.id,
        "order_id": payment.order_id,
        "user_id": payment.user_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "payment_method": payment.payment_method,
        "status": payment.status,
        "intent_id": payment.intent_id,
        "amount_received": payment.amount_received,
        "currency_received": payment.currency_received,
        "closing": payment.closing,
        "voided": payment.voided,
        "generation": payment.generation,
        "generation_at": payment.generation_at,
        "seq": payment.seq,
        "version": payment.version,
        "created_at": payment.created_at,
    }


def _to_payment(
    *,
    status: str,
    failed_charges: Sequence[str],
    refunds: Sequence[Mapping[str, Any]] | None,
    disputes: Sequence[Mapping[str, Any]] | None,
    **others: Any,
) -> Payment:
    return Payment(
        status=PaymentStatus(status),
        failed_charges=frozenset(failed_charges),
        refunds=tuple(_to_refund(**refund) for refund in refunds or ()),
        disputes=tuple(_to_dispute(**dispute) for dispute in disputes or ()),
        **others,
    )


def _to_refund(
    *, origin: str, status: str, restock: Sequence[Mapping[str, Any]], created_at: str, **others: Any
) -> Refund:
    return Refund(
        origin=RefundOrigin(origin),
        status=RefundStatus(status),
        restock=tuple(OrderLine(**line) for line in restock),
        created_at=datetime.fromisoformat(created_at),
        **others,
    )


def _to_dispute(*, status: str, respond_by: str | None, created_at: str, **others: Any) -> Dispute:
    return Dispute(
        status=DisputeStatus(status),
        respond_by=None if respond_by is None else datetime.fromisoformat(respond_by),
        created_at=datetime.fromisoformat(created_at),
        **others,
    )
