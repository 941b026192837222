"""Reading the services' databases, each as its audit role: one statement per kind of fact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable
from psycopg.rows import class_row

from cli.audit.facts import (
    DisputeFact,
    EventFact,
    OrderFact,
    PaymentFact,
    RefundFact,
    ReservationFact,
    RestockFact,
    StockFact,
    TransitionFact,
)
from cli.audit.patience import Unreadable
from runtime.connecting import with_keepalives
from runtime.refusal import Unavailable
from runtime.settings import SettingsError

Fact = TypeVar("Fact")
Answer = TypeVar("Answer")
Connection = psycopg.AsyncConnection[Any]

_STATEMENT_SECONDS: Final = 120.0
"""What one statement gets: a table of a million rows, or a server that does not answer any more."""

_ORDERS: Final = """
    SELECT o.id::text, o.status, o.seq, o.total, o.refunded, o.currency, o.created_at, o.updated_at,
           jsonb_object_agg(i.product_id::text, i.quantity) AS lines,
           CASE WHEN bool_and(i.unit_price IS NOT NULL) THEN (
               sum(i.quantity::numeric * i.unit_price) + (
                   SELECT coalesce(sum(CASE a.type WHEN 'discount' THEN -a.amount ELSE a.amount END), 0)
                   FROM order_adjustments a WHERE a.order_id = o.id))::bigint END AS price
    FROM orders o JOIN order_items i ON i.order_id = o.id
    GROUP BY o.id
"""
_TRANSITIONS: Final = """
    SELECT t.order_id::text, t.seq, t.from_status, t.to_status, t.at,
           b.id IS NOT NULL AS has_outbox_row, b.published_at IS NOT NULL AS is_published,
           coalesce(t.at <= r.horizon, false) AS may_be_deleted
    FROM order_transitions t LEFT JOIN outbox b ON b.ce_id = 'order:' || t.order_id || ':' || t.seq
         LEFT JOIN retention r ON r.name = 'outbox'
    ORDER BY t.order_id, t.seq
"""
_RESERVATIONS: Final = """
    SELECT r.order_id::text, r.status,
           coalesce(jsonb_object_agg(l.product_id::text, l.quantity) FILTER (WHERE l.order_id IS NOT NULL), '{}')
               AS lines
    FROM reservations r LEFT JOIN reservation_lines l ON l.order_id = r.order_id
    GROUP BY r.order_id
"""
_STOCK: Final = """
    SELECT s.product_id::text, s.on_hand, s.reserved, s.seq,
           count(m.seq) AS movements, coalesce(max(m.seq), 0) AS last_seq,
           coalesce(sum(m.on_hand_change), 0)::bigint AS on_hand_by_ledger,
           (SELECT coalesce(sum(l.quantity), 0) FROM reservation_lines l JOIN reservations r USING (order_id)
            WHERE l.product_id = s.product_id AND r.status = 'ACTIVE') AS reserved_by_lines,
           (SELECT count(*) FROM reservation_lines l JOIN reservations r USING (order_id)
            WHERE l.product_id = s.product_id AND r.status = 'COMMITTED') AS committed_lines,
           count(*) FILTER (WHERE m.kind = 'committed') AS committed_movements
    FROM stock s LEFT JOIN movements m ON m.product_id = s.product_id
    GROUP BY s.product_id
"""
_RESTOCKS: Final = """
    SELECT m.order_id::text, m.product_id::text, sum(m.on_hand_change)::bigint AS restocked,
           (SELECT coalesce(sum(l.quantity), 0) FROM reservation_lines l JOIN reservations r USING (order_id)
            WHERE l.order_id = m.order_id AND l.product_id = m.product_id AND r.status = 'COMMITTED') AS sold
    FROM movements m
    WHERE m.restock_id IS NOT NULL
    GROUP BY m.order_id, m.product_id
"""
_PAYMENTS: Final = """
    SELECT p.id::text, p.order_id::text, p.status, p.amount, p.currency, p.amount_received, p.currency_received,
           p.intent_id, p.seq,
           (SELECT coalesce(sum(amount), 0)::bigint FROM refunds
             WHERE payment_id = p.id AND status = 'SUCCEEDED') AS refunded
    FROM payments p
"""
_REFUNDS: Final = """
    SELECT r.id::text, p.order_id::text, r.status, r.amount, r.stripe_refund_id, r.version, r.saga_open,
           r.updated_at
    FROM refunds r JOIN payments p ON p.id = r.payment_id
    ORDER BY r.created_at
"""
_DISPUTES: Final = """
    SELECT d.id, p.order_id::text, d.status, d.amount, d.currency, d.withdrawn, d.version, d.saga_open, d.updated_at
    FROM disputes d JOIN payments p ON p.id = d.payment_id
    ORDER BY d.created_at
"""
_WAITING_EVENTS: Final = "SELECT event_id, received_at FROM provider_events WHERE status = 'RECEIVED'"


async def read_orders(dsn: str) -> tuple[Mapping[str, OrderFact], list[TransitionFact]]:
    """Orders by id, and all transitions sorted by order and seq."""
    async with await _connect(dsn) as connection:
        return await fetch_orders(connection)


async def fetch_orders(connection: Connection) -> tuple[Mapping[str, OrderFact], list[TransitionFact]]:
    """See `read_orders`."""
    orders = await _fetch(connection, OrderFact, _ORDERS)
    transitions = await _fetch(connection, TransitionFact, _TRANSITIONS)
    return {order.id: order for order in orders}, transitions


async def read_inventory(dsn: str) -> tuple[Mapping[str, ReservationFact], list[StockFact], list[RestockFact]]:
    """Reservations by order id, the stock of each product, and what refunds put back of it."""
    async with await _connect(dsn) as connection:
        return await fetch_inventory(connection)


async def fetch_inventory(
    connection: Connection,
) -> tuple[Mapping[str, ReservationFact], list[StockFact], list[RestockFact]]:
    """See `read_inventory`."""
    reservations = await _fetch(connection, ReservationFact, _RESERVATIONS)
    stock = await _fetch(connection, StockFact, _STOCK)
    restocks = await _fetch(connection, RestockFact, _RESTOCKS)
    return {reservation.order_id: reservation for reservation in reservations}, stock, restocks


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFacts:
    """What the payment database holds, at one moment."""

    payments: Mapping[str, PaymentFact]
    """By order id."""
    refunds: list[RefundFact]
    disputes: list[DisputeFact]
    waiting_events: list[EventFact]


async def read_payments(dsn: str) -> PaymentFacts:
    """Payments with their refunds and disputes, and the provider events that wait."""
    async with await _connect(dsn) as connection:
        return await fetch_payments(connection)


async def fetch_payments(connection: Connection) -> PaymentFacts:
    """See `read_payments`."""
    payments = await _fetch(connection, PaymentFact, _PAYMENTS)
    return PaymentFacts(
        payments={payment.order_id: payment for payment in payments},
        refunds=await _fetch(connection, RefundFact, _REFUNDS),
        disputes=await _fetch(connection, DisputeFact, _DISPUTES),
        waiting_events=await _fetch(connection, EventFact, _WAITING_EVENTS),
    )


async def ask_database(read: Callable[[str], Awaitable[Answer]], dsn: str, *, service: str) -> Answer:
    """What is read from a service's database.

    Raises:
        SettingsError: the DSN is none.
        Unreadable: the database is not set up for the audit.
        Unavailable: it does not answer.
    """
    try:
        return await read(dsn)
    except (InsufficientPrivilege, UndefinedTable, UndefinedColumn) as error:
        problem = f"database {service}: {error.diag.message_primary}; run `ordersaga setup databases`"
        raise Unreadable(f"{problem}, unless ORDERSAGA_AUDIT_DSNS, {service}, leads to another database") from None
    except psycopg.OperationalError as error:
        raise Unavailable(f"database {service} does not answer: {error}") from None
    except psycopg.ProgrammingError:  # its text may quote the password
        raise SettingsError(
            f"ORDERSAGA_AUDIT_DSNS, {service}: must be a URI such as postgresql://role:password@host:5432/database"
        ) from None
    except psycopg.Error as error:
        raise Unreadable(f"database {service} does not give its rows: {error}") from None
    except TimeoutError:
        raise Unreadable(f"database {service}: no answer within {_STATEMENT_SECONDS:g} s") from None


async def _connect(dsn: str) -> Connection:
    """A connection whose statements all see one moment, and that cannot write."""
    connection = await psycopg.AsyncConnection.connect(with_keepalives(dsn))
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    return connection


async def _fetch(connection: Connection, kind: type[Fact], query: str) -> list[Fact]:
    async with asyncio.timeout(_STATEMENT_SECONDS), connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query.encode())
        return await cursor.fetchall()
