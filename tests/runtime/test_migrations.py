"""Every database's migrations, up and down, on a PostgreSQL of their own."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine

import migrations
from domain.order_numbers import parse_order_number
from migrations.runner import SERVICES, downgrade, upgrade
from runtime.database import sqlalchemy_url
from sandbox.postgres.temporary import temporary_postgres_in_thread

Schema = dict[str, list[tuple[Any, ...]]]

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
          AND contype <> 'n'  -- NOT NULL, which PostgreSQL 18 names itself, after the column's first name
    """,
    "indexes": """
        SELECT tablename, indexname, indexdef
        FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    """,
}


@pytest.fixture(scope="module")
def empty_databases() -> Iterator[Mapping[str, str]]:
    """Service to the DSN of its empty database."""
    with temporary_postgres_in_thread() as databases:
        yield databases.owners


def schema(dsn: str) -> Schema:
    with psycopg.connect(dsn) as connection:
        return {what: sorted(map(tuple, connection.execute(query)), key=repr) for what, query in CATALOGUE.items()}


def tables_of(service: str) -> MetaData:
    metadata: MetaData = importlib.import_module(f"services.{service}.tables").Base.metadata
    return metadata


def revisions_of(service: str) -> list[str]:
    """The service's revisions, the first one first."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent / service))
    return [revision.revision for revision in script.walk_revisions()][::-1]


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_goes_down_to_nothing_and_up_again_to_what_the_tables_say(
    service: str, empty_databases: Mapping[str, str]
) -> None:
    dsn, metadata = empty_databases[service], tables_of(service)
    engine = create_engine(sqlalchemy_url(dsn))
    metadata.create_all(engine)
    wanted = schema(dsn)
    metadata.drop_all(engine)

    upgrade(service, dsn)
    once = schema(dsn)
    downgrade(service, dsn)
    emptied = schema(dsn)
    upgrade(service, dsn)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    assert once == wanted  # more than Alembic compares: checks, and what partial indexes cover
    assert not any(emptied.values())
    assert schema(dsn) == wanted
    downgrade(service, dsn)


@pytest.mark.parametrize("service", SERVICES)
def test_each_migration_can_be_taken_back_alone(service: str, empty_databases: Mapping[str, str]) -> None:
    dsn, before = empty_databases[service], "base"

    for revision in revisions_of(service):
        unmigrated = schema(dsn)
        upgrade(service, dsn, revision=revision)
        migrated = schema(dsn)
        downgrade(service, dsn, revision=before)
        assert schema(dsn) == unmigrated
        upgrade(service, dsn, revision=revision)
        assert schema(dsn) == migrated
        before = revision
    downgrade(service, dsn)


def test_products_outlive_the_way_down_and_up(empty_databases: Mapping[str, str]) -> None:
    dsn = empty_databases["product"]
    upgrade("product", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO products VALUES"
            " (gen_random_uuid(), 'Mug', '', 1250, 'EUR', true, 1, now(), now(), NULL),"
            " (gen_random_uuid(), 'Cup', '', 1250, 'EUR', false, 2, now(), now(), now())"
        )

    downgrade("product", dsn, revision="0001")
    upgrade("product", dsn)

    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT name, active, deleted_at FROM products ORDER BY seq").fetchall()
    assert rows == [("Mug", True, None), ("Cup", False, None)]
    downgrade("product", dsn)


def test_pieces_that_refunds_put_back_stay_in_stock_on_the_way_down_and_up(empty_databases: Mapping[str, str]) -> None:
    dsn = empty_databases["inventory"]
    upgrade("inventory", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO movements
                   (product_id, seq, kind, on_hand_change, reserved_change, order_id, restock_id, note, at)
            SELECT product, seq, kind, change, 0, ordered, refund, '', now()
              FROM (SELECT gen_random_uuid() AS product, gen_random_uuid() AS ordered) AS sale,
                   (VALUES (1, 'committed', -3, NULL::uuid), (2, 'restocked', 2, gen_random_uuid()),
                           (3, 'restocked', 1, gen_random_uuid())) AS movement (seq, kind, change, refund)
        """)

    downgrade("inventory", dsn, revision="0001")
    upgrade("inventory", dsn)

    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT seq, kind, on_hand_change, order_id IS NULL, left(note, 20) FROM movements ORDER BY seq"
        ).fetchall()
    assert rows == [
        (1, "committed", -3, False, ""),
        (2, "adjusted", 2, True, "restocked by refund "),
        (3, "adjusted", 1, True, "restocked by refund "),
    ]
    downgrade("inventory", dsn)


def test_order_mails_outlive_the_way_down_and_up(empty_databases: Mapping[str, str]) -> None:
    dsn = empty_databases["notification"]
    upgrade("notification", dsn, revision="0001")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO notifications VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'order_paid',"
            " 'order:1:3', 3, '{}', 'PENDING', 0, now(), NULL, now(), NULL, NULL)"
        )

    upgrade("notification", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO notifications (id, user_id, channel, recipient, subject, body, fingerprint, status, attempts,"
            " next_attempt_at, created_at) VALUES (gen_random_uuid(), gen_random_uuid(), 'sms', '+4915112345678', '',"
            " 'Hello', '', 'PENDING', 0, now(), now())"
        )
    downgrade("notification", dsn, revision="0001")
    upgrade("notification", dsn)

    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT channel, template, ce_id FROM notifications").fetchall()
    assert rows == [("email", "order_paid", "order:1:3")]
    downgrade("notification", dsn)


def test_orders_outlive_the_way_down_and_up(empty_databases: Mapping[str, str]) -> None:
    dsn = empty_databases["order"]
    upgrade("order", dsn, revision="0002")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO orders (id, user_id, status, currency, total, payment_window_seconds, shipping_address, seq,"
            " created_at, updated_at) VALUES (gen_random_uuid(), gen_random_uuid(), 'PAID', 'EUR', 900, 900, '{}', 3,"
            " now(), now())"
        )

    upgrade("order", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = connection.execute("SELECT status, refunded FROM orders").fetchall()
        connection.execute("UPDATE orders SET status = 'REFUNDED', refunded = 900")
    downgrade("order", dsn, revision="0002")
    upgrade("order", dsn)

    with psycopg.connect(dsn) as connection:
        after = connection.execute("SELECT status, refunded FROM orders").fetchall()
    assert before == after == [("PAID", 0)]
    downgrade("order", dsn)


ORDERS = """
    INSERT INTO orders (id, user_id, status, currency, refunded, payment_window_seconds, shipping_address, seq,
                        created_at, updated_at, attempts, next_attempt_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'PAID', 'EUR', 0, 900, '{}', 3, now(), now(), 0, now()
      FROM generate_series(1, %(count)s)
"""
ORDERS_OF_0003 = """
    INSERT INTO orders (id, user_id, status, currency, refunded, payment_window_seconds, shipping_address, seq,
                        created_at, updated_at)
    SELECT id::uuid, id::uuid, status, 'EUR', 0, 900, '{}', seq, '2026-01-01', '2026-01-01'
      FROM (VALUES ('00000000-0000-0000-0000-000000000001', 'PAID', 3),
                   ('00000000-0000-0000-0000-000000000002', 'CANCELLED', 3),
                   ('00000000-0000-0000-0000-000000000003', 'RECEIVED', 1)) AS made (id, status, seq);
    INSERT INTO order_transitions (order_id, seq, from_status, to_status, cause_id, at)
    SELECT id, 1, NULL::text, 'RECEIVED', 'accepted', timestamptz '2026-01-01 00:00:00Z' FROM orders
     UNION ALL SELECT id, 2, 'RECEIVED', 'PENDING', 'pending', '2026-01-01 00:00:01Z' FROM orders WHERE seq = 3
     UNION ALL SELECT id, 3, 'PENDING', status, 'closed', '2026-01-01 00:01:00Z' FROM orders WHERE seq = 3;
    INSERT INTO idempotency_keys (user_id, route, key, request_hash, order_id, accepted_only, created_at)
    SELECT id, 'POST /v1/orders', 'key', 'hash', id, id = '00000000-0000-0000-0000-000000000002', created_at FROM orders
     UNION ALL
    SELECT id, 'POST /v1/orders/{id}/cancel', 'key', 'hash', id, status = 'CANCELLED', created_at
      FROM orders WHERE seq = 3;
    INSERT INTO cancellations (order_id, cancelled_by, user_id, why, requested_at)
    SELECT id, 'CUSTOMER', id, 'found it cheaper', created_at FROM orders WHERE status = 'RECEIVED';
    INSERT INTO attention (order_id, step, why, since)
    SELECT id, 'reserve', 'away', created_at FROM orders WHERE status = 'RECEIVED';
"""
KEYS_OF_0003 = """
    SELECT right(order_id::text, 1), route LIKE '%cancel', key, request_hash, accepted_only
      FROM idempotency_keys ORDER BY 1, 2
"""
FIRST_ANSWERS = """
    SELECT right(subject_id::text, 1), route LIKE '%cancel',
           EXISTS (SELECT FROM order_transitions
                    WHERE order_id = subject_id AND seq = CASE WHEN route LIKE '%cancel' THEN 3 ELSE 2 END
                      AND at <= answer_by)
      FROM idempotency_keys ORDER BY 1, 2
"""


def test_first_answers_and_open_work_of_orders_outlive_the_way_up_and_down(
    empty_databases: Mapping[str, str],
) -> None:
    dsn = empty_databases["order"]
    upgrade("order", dsn, revision="0003")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ORDERS_OF_0003)
        before = connection.execute(KEYS_OF_0003).fetchall()

    upgrade("order", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        answered_with_outcome = connection.execute(FIRST_ANSWERS).fetchall()
        requests = connection.execute(
            "SELECT cancelled_by, note, attempts, next_attempt_at <= now(), settled_at FROM cancellation_requests"
        ).fetchall()
        orders = connection.execute("SELECT DISTINCT attempts, next_attempt_at <= now() FROM orders").fetchall()
        concerns = connection.execute("SELECT kind, subject_id = order_id::text, step, cause FROM concerns").fetchall()
    downgrade("order", dsn, revision="0003")

    with psycopg.connect(dsn, autocommit=True) as connection:
        after = connection.execute(KEYS_OF_0003).fetchall()
        whys = connection.execute("SELECT why FROM cancellations UNION SELECT why FROM attention ORDER BY 1").fetchall()
    assert answered_with_outcome == [
        ("1", False, True),
        ("1", True, True),
        ("2", False, False),
        ("2", True, False),
        ("3", False, False),
    ]
    assert requests == [("CUSTOMER", "found it cheaper", 0, True, None)]
    assert orders == [(0, True)]
    assert concerns == [("ORDER", True, "reserve", "away")]
    # nobody was answered with the outcome of the order that has none: the request was cut off, and is accepted since
    assert [row[:4] for row in after] == [row[:4] for row in before]
    assert [row[4] for row in before] == [False, False, True, True, False]
    assert [row[4] for row in after] == [False, False, True, True, True]
    assert whys == [("away",), ("found it cheaper",)]
    downgrade("order", dsn)


def test_orders_that_are_there_get_numbers_of_their_own(
    empty_databases: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = empty_databases["order"]
    upgrade("order", dsn, revision="0007")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ORDERS, {"count": 50})
    drawn = itertools.count()
    # as if there were 51: some are drawn twice at once, and some that are taken
    monkeypatch.setattr("domain.order_numbers.secrets.randbits", lambda _: next(drawn) ** 2 % 101)

    upgrade("order", dsn, revision="0008")

    with psycopg.connect(dsn) as connection:
        numbers = [number for (number,) in connection.execute("SELECT number FROM orders")]
    assert len(set(numbers)) == 50
    assert all(parse_order_number(number) == number for number in numbers)
    downgrade("order", dsn)


def test_refunds_keys_and_events_outlive_the_way_up_and_down(empty_databases: Mapping[str, str]) -> None:
    dsn = empty_databases["payment"]
    upgrade("payment", dsn, revision="0003")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO payments (id, order_id, user_id, amount, currency, payment_method, status, intent_id,
                                  amount_received, currency_received, closing, voided, generation, generation_at, seq,
                                  version, created_at, updated_at)
            VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 2599, 'EUR', NULL, 'SUCCEEDED', 'pi_1',
                    2599, 'EUR', false, false, 0, now(), 3, 5, now(), now())
        """)
        connection.execute("""
            INSERT INTO refunds (id, payment_id, origin, amount, currency, status, stripe_refund_id, failure_reason,
                                 generation, restock, restock_id, requested_by, why, version, saga_open, woken_version,
                                 next_look_at, created_at, updated_at)
            SELECT refund.id::uuid, payments.id, 'ADMIN', 100, 'EUR', refund.status, 're_' || refund.status, NULL, 0,
                   '[]', refund.id::uuid, gen_random_uuid(), refund.status, 2, is_open, 1, now(),
                   now() - interval '1 h', now() - interval '1 min'
              FROM payments, (VALUES ('00000000-0000-0000-0000-000000000001', 'CANCELED', true),
                                     ('00000000-0000-0000-0000-000000000002', 'SUCCEEDED', false),
                                     ('00000000-0000-0000-0000-000000000003', 'PENDING', true)
                             ) AS refund (id, status, is_open)
        """)
        connection.execute("""
            INSERT INTO disputes (id, payment_id, status, reason, amount, currency, withdrawn, respond_by, version,
                                  saga_open, woken_version, next_look_at, created_at, updated_at)
            SELECT 'du_1', id, 'LOST', 'fraudulent', 100, 'EUR', 100, NULL, 2, true, 1, now(), now(), now()
              FROM payments
        """)
        connection.execute("""
            INSERT INTO idempotency_keys (user_id, route, key, request_hash, refund_id, accepted_only, created_at)
            SELECT gen_random_uuid(), 'POST /v1/orders/{id}/refunds', status, '', id, status = 'PENDING',
                   now() - interval '1 h'
              FROM refunds
        """)
        connection.execute("""
            INSERT INTO provider_events (event_id, type, intent_id, order_id, payload, received_at, status, note,
                                         attempts, next_attempt_at, processed_at)
            VALUES ('evt_1', 'payment_intent.succeeded', 'pi_1', NULL, '{}', now(), 'RECEIVED', 'Temporal: away', 3,
                    now(), NULL),
                   ('evt_2', 'charge.succeeded', 'pi_1', NULL, '{}', now(), 'IGNORED', 'the same', 0, now(), now())
        """)

    upgrade("payment", dsn)

    with psycopg.connect(dsn) as connection:
        refunds = connection.execute("""
            SELECT note, status, notified_version, attempts, last_error, settled_at = updated_at, saga_open
              FROM refunds ORDER BY id
        """).fetchall()
        # As `runtime.idempotency.FirstRequest.answered_with` has it.
        keys = connection.execute("""
            SELECT key, coalesce(settled_at <= answer_by, false)
              FROM idempotency_keys JOIN refunds ON refunds.id = subject_id ORDER BY refunds.id
        """).fetchall()
        events = connection.execute("SELECT event_id, note, last_error FROM provider_events ORDER BY 1").fetchall()
        followed = connection.execute("SELECT id, notified_version, attempts, last_error FROM disputes").fetchall()
    assert refunds == [
        ("CANCELED", "CANCELLED", 1, 0, None, True, True),
        ("SUCCEEDED", "SUCCEEDED", 1, 0, None, True, False),
        ("PENDING", "PENDING", 1, 0, None, None, True),
    ]
    assert keys == [("CANCELED", True), ("SUCCEEDED", True), ("PENDING", False)]
    assert events == [("evt_1", "", "Temporal: away"), ("evt_2", "the same", None)]
    assert followed == [("du_1", 1, 0, None)]

    downgrade("payment", dsn, revision="0003")

    with psycopg.connect(dsn) as connection:
        refunds = connection.execute("SELECT why, status, woken_version FROM refunds ORDER BY id").fetchall()
        keys = connection.execute("""
            SELECT key, accepted_only FROM idempotency_keys JOIN refunds ON refunds.id = refund_id ORDER BY refunds.id
        """).fetchall()
        events = connection.execute("SELECT event_id, note, payload FROM provider_events ORDER BY 1").fetchall()
    assert refunds == [("CANCELED", "CANCELED", 1), ("SUCCEEDED", "SUCCEEDED", 1), ("PENDING", "PENDING", 1)]
    assert keys == [("CANCELED", False), ("SUCCEEDED", False), ("PENDING", True)]
    assert events == [("evt_1", "Temporal: away", ""), ("evt_2", "the same", "")]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM refunds")  # of which 0002 has one per payment
    downgrade("payment", dsn)


@pytest.mark.parametrize("service", SERVICES)
def test_the_code_wants_the_tables_that_the_last_migration_makes(service: str) -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent / service))

    assert scripts.get_current_head() == importlib.import_module(f"services.{service}.tables").SCHEMA
