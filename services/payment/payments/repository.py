"""SQL of payments and what belongs to them. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Final, Literal, LiteralString, get_args

from runtime.database import Connection, encode_rows
from runtime.due_work import Claimed, DueTable
from runtime.outbox import Event, encode_events, with_events
from runtime.rows import columns, json_object, overwrite, parameters, recordset
from services.payment.payments.model import Dispute, FollowUp, OpenCase, Payment, Refund
from services.payment.stripe.model import FailedCharge
from services.payment.tables import AttemptRow, DisputeRow, FollowedColumns, PaymentRow, RefundRow

FollowedTable = Literal["refunds", "disputes"]
"""The tables whose rows have a workflow each."""
FOLLOW_UPS_CHANNEL: Final = "payment_follow_ups"
"""NOTIFY channel: the payload is the id of a refund or dispute that changed."""

_JUST_NOW: Final[LiteralString] = "interval '10 s'"
_NOT_OF_VALUE: Final = {"payment_id", "updated_at", *FollowedColumns.model_fields}
"""Columns of refunds and disputes that their changes are not made of."""
_FIXED: Final = {
    *("id", "order_id", "user_id", "placed_by", "amount", "currency", "payment_method", "traceparent", "created_at")
}
"""Columns of a payment that never change, but for whose it is, see `PaymentRepository.adopt`."""
_NOT_SAID: Final = {*_FIXED, "version", "updated_at"}
"""Columns whose value a change does not say."""

_PAYMENT_COLUMNS: Final = columns(PaymentRow, without={"updated_at"})
_ADD_PAYMENT: Final = with_events(f"""
    changed AS (
        INSERT INTO payments ({_PAYMENT_COLUMNS}, updated_at)
        VALUES ({parameters(PaymentRow, without={"updated_at"})}, %(created_at)s)
        ON CONFLICT DO NOTHING
        RETURNING id
    )
""")  # noqa: S608 - put together from constants


def _write_rows(table: type[RefundRow | DisputeRow], *, of: LiteralString, rows: LiteralString) -> LiteralString:
    """Writes those of a payment's refunds or disputes that changed, given as JSON in the parameter `rows`.

    One that changed for its workflow, too, is due at once, whoever has claimed it. What the workflow knows of is never
    forgotten.
    """
    names, written = (columns(table, without=_NOT_OF_VALUE, of=alias) for alias in ("", "written"))
    return f"""
        INSERT INTO {of} ({names}, payment_id, attempts, next_attempt_at, updated_at, traceparent)
        SELECT {written}, changed.id, 0, now(), now(), %(traceparent)s::text
          FROM changed, json_to_recordset(%({rows})s::json)
            AS {recordset(table, alias="written", without=_NOT_OF_VALUE)}
        ON CONFLICT (id) DO UPDATE
           SET {overwrite(table, without={*_NOT_OF_VALUE, "notified_version"})},
               notified_version = greatest({of}.notified_version, excluded.notified_version),
               next_attempt_at = CASE WHEN excluded.version > greatest({of}.version, excluded.notified_version)
                                      THEN now() ELSE {of}.next_attempt_at END,
               traceparent = CASE WHEN excluded.version > greatest({of}.version, excluded.notified_version)
                                  THEN excluded.traceparent ELSE {of}.traceparent END,
               updated_at = now()
        RETURNING pg_notify('{FOLLOW_UPS_CHANNEL}', id::text)
    """  # noqa: S608 - put together from constants


_CHANGE_PAYMENT: Final = with_events(f"""
    changed AS (
        UPDATE payments
           SET ({columns(PaymentRow, without=_NOT_SAID)}) = ROW ({parameters(PaymentRow, without=_NOT_SAID)}),
               version = version + 1, updated_at = now()
         WHERE id = %(id)s AND version = %(version)s
        RETURNING id
    ),
    attempt AS (
        INSERT INTO payment_attempts ({columns(AttemptRow, without={"payment_id"})}, payment_id)
        SELECT {columns(AttemptRow, without={"payment_id"}, of="charge")}, changed.id
          FROM changed, json_to_recordset(%(attempts)s::json)
            AS {recordset(AttemptRow, alias="charge", without={"payment_id"})}
        ON CONFLICT DO NOTHING
    ),
    refund AS ({_write_rows(RefundRow, of="refunds", rows="refunds")}),
    dispute AS ({_write_rows(DisputeRow, of="disputes", rows="disputes")})
""")  # noqa: S608 - put together from constants
_PAYMENT: Final = f"""
    SELECT {_PAYMENT_COLUMNS},
           ARRAY(SELECT charge_id FROM payment_attempts WHERE payment_id = payments.id) AS failed_charges,
           (SELECT decline_code FROM payment_attempts WHERE payment_id = payments.id
             ORDER BY at DESC, charge_id COLLATE "C" DESC LIMIT 1) AS last_decline_code,
           coalesce((SELECT json_agg({json_object(RefundRow, without=_NOT_OF_VALUE)} ORDER BY created_at, id)
                       FROM refunds WHERE payment_id = payments.id), '[]') AS refunds,
           coalesce((SELECT json_agg({json_object(DisputeRow, without=_NOT_OF_VALUE)} ORDER BY created_at, id)
                       FROM disputes WHERE payment_id = payments.id), '[]') AS disputes
      FROM payments
"""  # noqa: S608 - put together from constants


def _due_follow_ups(table: FollowedTable) -> DueTable[FollowUp]:
    return DueTable(
        table=table,
        key="id",
        pending="saga_open",
        columns="claimed.id, order_id, claimed.version, notified_version, now() - claimed.created_at AS age",
        make=FollowUp,
        joined="JOIN payments ON payments.id = payment_id",
        failing_since=True,
    )


DUE_FOLLOW_UPS: Final[Mapping[FollowedTable, DueTable[FollowUp]]] = {
    table: _due_follow_ups(table) for table in get_args(FollowedTable)
}
"""The refunds and disputes from which something still follows, when their workflows have to be looked after."""


class PaymentRepository:
    """Payments with their attempts, refunds and disputes, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_payment(self, payment: Payment, events: Sequence[Event]) -> bool:
        """Write a new payment with its events, unless its order has one; waits for a concurrent duplicate."""
        added = await self._connection.execute(_ADD_PAYMENT, **_columns(payment), events=encode_events(events))
        return added == 1

    async def change_payment(
        self,
        payment: Payment,
        *,
        events: Sequence[Event],
        attempts: Sequence[FailedCharge],
        refunds: Sequence[Refund],
        disputes: Sequence[Dispute],
    ) -> bool:
        """Write what has become of the payment's version, with those of its refunds and disputes that changed.

        Returns:
            False, and nothing is changed, when it has another version by now.
        """
        changed = await self._connection.execute(
            _CHANGE_PAYMENT,
            **_columns(payment),
            attempts=encode_rows(asdict(charge) for charge in attempts),
            refunds=encode_rows(refund.model_dump() for refund in refunds),
            disputes=encode_rows(dispute.model_dump() for dispute in disputes),
            events=encode_events(events),
        )
        return changed == 1

    async def adopt(self, order_id: str, *, user_id: str) -> None:
        """Let an account have the order's payment, once; who changes it meanwhile has to read it again."""
        await self._connection.execute(
            """
            UPDATE payments SET placed_by = user_id, user_id = %(user_id)s, version = version + 1, updated_at = now()
             WHERE order_id = %(order_id)s AND user_id <> %(user_id)s AND placed_by IS NULL
            """,
            order_id=order_id,
            user_id=user_id,
        )

    async def find_by_id(self, payment_id: str) -> Payment | None:
        """One payment."""
        return await self._find("WHERE id = %(payment_id)s", payment_id=payment_id)

    async def find_by_order(self, order_id: str) -> Payment | None:
        """The order's payment."""
        return await self._find("WHERE order_id = %(order_id)s", order_id=order_id)

    async def find_by_intent_or_order(self, *, intent_id: str | None, order_id: str | None) -> Payment | None:
        """The payment that has this intent or, when none has, the order's."""
        return await self._find(
            """
            WHERE intent_id = %(intent_id)s::text OR order_id = %(order_id)s::uuid
            ORDER BY (intent_id IS NOT DISTINCT FROM %(intent_id)s::text) DESC LIMIT 1
            """,
            intent_id=intent_id,
            order_id=order_id,
        )

    async def find_by_refund(self, refund_id: str) -> Payment | None:
        """The payment that this refund is of."""
        return await self._find(
            "WHERE id = (SELECT payment_id FROM refunds WHERE id = %(refund_id)s)", refund_id=refund_id
        )

    async def find_by_dispute(self, dispute_id: str) -> Payment | None:
        """The payment that this dispute is about."""
        return await self._find(
            "WHERE id = (SELECT payment_id FROM disputes WHERE id = %(dispute_id)s)", dispute_id=dispute_id
        )

    async def lock_payment(self, order_id: str) -> None:
        """Hold the order's payment until the end of the transaction; read it afterwards."""
        await self._connection.execute(
            "SELECT FROM payments WHERE order_id = %(order_id)s FOR UPDATE", order_id=order_id
        )

    async def set_followed_up(self, table: FollowedTable, claimed: Claimed[FollowUp], *, next_look: timedelta) -> None:
        """Note that the workflow runs and knows of this version, unless the claim was lost."""
        await self._connection.execute(
            f"""
            UPDATE {table}
               SET notified_version = greatest(notified_version, %(version)s), attempts = 0, last_error = NULL,
                   failing_since = NULL, next_attempt_at = now() + %(next_look)s
             WHERE {DUE_FOLLOW_UPS[table].still_claimed}
            """,  # noqa: S608 - put together from constants
            version=claimed.item.version,
            next_look=next_look,
            **claimed.parameters,
        )

    async def list_open(self, table: FollowedTable, *, after: str | None, most: int) -> list[OpenCase]:
        """A batch of refunds or disputes from which something follows, by id, that did not change just now: such a one
        need not have its workflow yet."""
        return await self._connection.fetch_all(OpenCase, select_open_cases(table, after=after), after=after, most=most)

    async def _find(self, condition: LiteralString, **parameters: object) -> Payment | None:
        return await self._connection.fetch_one(Payment, f"{_PAYMENT} {condition}", **parameters)


def select_open_cases(table: FollowedTable, *, after: str | None) -> LiteralString:
    """SQL of a batch of them: the first one, or what comes after an id."""
    last: LiteralString = "true" if after is None else "followed.id > %(after)s"
    return f"""
        SELECT followed.id::text AS id, order_id
          FROM {table} AS followed JOIN payments ON payments.id = payment_id
         WHERE saga_open AND followed.updated_at < now() - {_JUST_NOW} AND {last}
         ORDER BY followed.id LIMIT %(most)s
    """  # noqa: S608 - put together from constants


def _columns(payment: Payment) -> dict[str, object]:
    """The payment's own columns, but for its context, which is that of the statement that adds it."""
    return payment.model_dump(exclude={"failed_charges", "last_decline_code", "refunds", "disputes", "traceparent"})
