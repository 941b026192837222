"""A filled past: the audit has nothing to say against what the databases hold, and the same seed makes the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from google.protobuf.json_format import Parse

from bench.filling.fill import Filled, fill
from bench.filling.people import BIG, OLD, OLD_ORDERS
from bench.filling.shape import Shape
from bench.filling.sheets import Sheet
from cli.audit.facts import Facts, Source
from cli.audit.invariants import find_breaches
from cli.audit.read_databases import read_inventory, read_orders, read_payments
from domain.order_numbers import parse_order_number
from domain.orders import OrderStatus
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from ordersaga.events.v1.user_events_pb2 import UserChanged
from services.order.tables import OrderTransitionRow
from tests.support.audit_facts import facts
from tests.support.shared_postgres import PostgresServer

SHAPE = Shape(orders=1_000, until=datetime(2026, 5, 1, tzinfo=UTC), open_orders=20, products=40)
DATA = {
    "order": OrderTransitioned,
    "payment": PaymentChanged,
    "inventory": StockChanged,
    "notification": NotificationChanged,
    "user": UserChanged,
    "product": ProductChanged,
}


@pytest.fixture(scope="module")
def dsns(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    return postgres.copy_databases(f"fill_{worker_id}")


@pytest.fixture(scope="module")
def filled(dsns: Mapping[str, str]) -> Filled:
    return fill(dsns, SHAPE)


def read_facts(dsns: Mapping[str, str]) -> Facts:
    """All that the databases say, as the audit reads it."""

    async def read() -> Facts:
        orders, transitions = await read_orders(dsns["order"])
        reservations, stock, restocks = await read_inventory(dsns["inventory"])
        paid = await read_payments(dsns["payment"])
        return facts(
            orders=orders,
            transitions=transitions,
            reservations=reservations,
            stock=stock,
            restocks=restocks,
            payments=paid.payments,
            refunds=paid.refunds,
            disputes=paid.disputes,
            waiting_events=paid.waiting_events,
            unread=dict.fromkeys((Source.STRIPE, Source.TEMPORAL, Source.KAFKA), "not asked"),
        )

    return asyncio.run(read())


def fetch(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_the_audit_finds_no_breach_in_a_filled_past(filled: Filled, dsns: Mapping[str, str]) -> None:
    found = read_facts(dsns)

    assert len(found.orders) == SHAPE.orders
    assert {order.status for order in found.orders.values()} == set(OrderStatus) - {OrderStatus.RECEIVED}
    assert {reservation.status for reservation in found.reservations.values()} == {"ACTIVE", "COMMITTED", "RELEASED"}
    assert find_breaches(found) == []


def test_the_audit_notices_when_one_filled_order_is_another_than_its_payment(
    filled: Filled, dsns: Mapping[str, str]
) -> None:
    found = read_facts(dsns)
    order = next(order for order in found.orders.values() if order.status == OrderStatus.PAID)
    changed = replace(order, total=(order.total or 0) + 1)

    breaches = find_breaches(replace(found, orders={**found.orders, order.id: changed}))

    assert {breach.invariant for breach in breaches} == {1, 9}


@pytest.mark.parametrize("service", DATA)
def test_every_events_data_is_what_consumers_read(service: str, filled: Filled, dsns: Mapping[str, str]) -> None:
    rows = fetch(dsns[service], "SELECT DISTINCT ON (ce_type, length(data)) data FROM outbox")

    assert rows
    for (data,) in rows:
        Parse(str(data), DATA[service]())  # refuses a field that the message does not have


def test_one_customer_has_a_tenth_of_all_orders_and_one_ordered_in_the_beginning_alone(
    filled: Filled, dsns: Mapping[str, str]
) -> None:
    rows = fetch(dsns["order"], "SELECT user_id::text, count(*) FROM orders GROUP BY user_id")
    counted = {str(row[0]): row[1] for row in rows}
    last_old = fetch(
        dsns["order"],
        f"SELECT max(created_at) FROM orders WHERE user_id = '{filled.accounts[OLD].id}'",  # noqa: S608 - our own id
    )

    assert counted[filled.accounts[BIG].id] == pytest.approx(SHAPE.orders / 10, rel=0.3)
    assert counted[filled.accounts[OLD].id] == OLD_ORDERS
    [(moment,)] = last_old
    assert isinstance(moment, datetime)
    assert moment < SHAPE.began_at + (SHAPE.until - SHAPE.began_at) / 40


def test_the_same_shape_makes_the_same_rows(
    filled: Filled, dsns: Mapping[str, str], postgres: PostgresServer, worker_id: str
) -> None:
    others = postgres.copy_databases(f"fill_again_{worker_id}")
    fill(others, SHAPE)

    for service, statement in {
        "order": "SELECT id, number, status, total FROM orders ORDER BY id",
        "payment": "SELECT id, intent_id, amount_received FROM payments ORDER BY id",
        "inventory": "SELECT product_id, seq, order_id, on_hand_change FROM movements ORDER BY product_id, seq",
        "notification": "SELECT id, ce_id, template, event FROM notifications ORDER BY id",
    }.items():
        assert fetch(dsns[service], statement) == fetch(others[service], statement)


def test_only_the_newest_orders_have_what_a_retention_is_for(postgres: PostgresServer, worker_id: str) -> None:
    others = postgres.copy_databases(f"fill_recent_{worker_id}")
    fill(others, replace(SHAPE, orders=500, recent=100))

    [(orders,)] = fetch(others["order"], "SELECT count(DISTINCT key) FROM outbox")
    [(is_newest,)] = fetch(
        others["order"],
        "SELECT bool_and(key::uuid >= (SELECT id FROM orders ORDER BY id DESC OFFSET 99 LIMIT 1)) FROM outbox",
    )

    assert orders == 100
    assert is_newest


def test_order_numbers_are_such_as_people_may_write(filled: Filled, dsns: Mapping[str, str]) -> None:
    numbers = [str(number) for (number,) in fetch(dsns["order"], "SELECT number FROM orders")]

    assert all(parse_order_number(number) == number for number in numbers)


def test_a_sheet_refuses_columns_that_the_table_has_not_and_misses_those_that_a_row_needs() -> None:
    with pytest.raises(LookupError, match="has no column moment"):
        Sheet(OrderTransitionRow, "order_id", "moment")
    with pytest.raises(LookupError, match="needs at, cause_id, seq, to_status"):
        Sheet(OrderTransitionRow, "order_id")
