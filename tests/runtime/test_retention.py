"""What is old is deleted: in batches, by one process at a time, and never what is open; in all six databases."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio

from migrations.runner import SERVICES
from runtime.database import Database
from runtime.retention import Rule, retention_worker
from runtime.settings import Settings, SettingsError
from tests.support.background import running
from tests.support.client import until
from tests.support.retention import DAY, add_event, delete_old, noted, opened, rules_of
from tests.support.rows import fetch_rows
from tests.support.shared_postgres import PostgresServer, unique_suffix

NO_INDEX = """
    SELECT con.conname FROM pg_constraint AS con
     WHERE con.contype = 'f' AND con.connamespace = 'public'::regnamespace
       AND NOT EXISTS (
           SELECT FROM pg_index AS ind
            WHERE ind.indrelid = con.conrelid AND ind.indpred IS NULL AND ind.indisvalid
              AND (ind.indkey::int2[])[0:cardinality(con.conkey) - 1] @> con.conkey)
"""


WHO_LOOKS_BACK = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
"""
"""Transactions, such as autovacuum's, that may still see what is deleted: VACUUM leaves that to them."""


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def clean(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """Service to the DSN of a database in which nobody else works."""
    return postgres.copy_databases(f"retention_{unique_suffix(worker_id)}")


@asynccontextmanager
async def opened_empty(dsn: str) -> AsyncIterator[Database]:
    """Without what the tests before have left."""
    async with opened(dsn) as database:
        await fetch_rows(database, "DELETE FROM outbox RETURNING id")
        await fetch_rows(database, "UPDATE retention SET horizon = NULL, deleted = 0 RETURNING name")
        yield database


@pytest_asyncio.fixture
async def database(clean: Mapping[str, str]) -> AsyncIterator[Database]:
    async with opened_empty(clean["inventory"]) as database:
        yield database


@dataclass
class Counted:
    """In the place of the counter of deleted rows: what each batch deleted."""

    batches: list[int] = field(default_factory=list)

    def labels(self, *_: str) -> Counted:
        return self

    def inc(self, rows: int) -> None:
        self.batches.append(rows)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each batch has deleted, of three at most."""
    counted = Counted()
    monkeypatch.setattr("runtime.retention.EXPIRED_ROWS", counted)
    monkeypatch.setattr("runtime.retention.AT_ONCE", 3)
    monkeypatch.setattr("runtime.retention._PAUSE", 0)
    return counted.batches


async def ids(database: Database) -> list[str]:
    return [ce_id for (ce_id,) in await fetch_rows(database, "SELECT ce_id FROM outbox ORDER BY id")]


@pytest.mark.parametrize("service", SERVICES)
async def test_events_go_a_week_after_they_were_published_and_never_before(
    service: str, clean: Mapping[str, str]
) -> None:
    async with opened_empty(clean[service]) as database:
        stuck = await add_event(database, age=400 * DAY, published=None)
        await add_event(database, age=9 * DAY, published=8 * DAY)
        late = await add_event(database, age=9 * DAY, published=6 * DAY)
        await add_event(database, age=8 * DAY, published=8 * DAY)
        young = await add_event(database, age=6 * DAY, published=6 * DAY)

        await delete_old(retention_worker(service, database, rules_of(service)), database)

        assert await ids(database) == [stuck, late, young]
        deleted, horizon = await noted(database, "outbox")
        assert deleted == 2
        assert horizon is not None
        assert timedelta(0) <= datetime.now(UTC) - 8 * DAY - horizon < timedelta(minutes=1)


@pytest.mark.parametrize("service", [service for service in SERVICES if service not in ("inventory", "notification")])
async def test_a_key_is_kept_for_a_day_and_then_means_nothing(service: str, clean: Mapping[str, str]) -> None:
    async with opened(clean[service]) as database:
        await fetch_rows(
            database,
            """
            INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
            SELECT gen_random_uuid(), 'POST /', age, '', gen_random_uuid(), now(), now() - age::interval
              FROM unnest(ARRAY['23 hours 59 minutes', '24 hours 1 minute', '300 days']) AS age RETURNING key
            """,
        )

        await delete_old(retention_worker(service, database, rules_of(service)), database)

        assert await fetch_rows(database, "SELECT key FROM idempotency_keys") == [("23 hours 59 minutes",)]


async def test_a_key_that_somebody_is_just_using_is_not_waited_for(clean: Mapping[str, str]) -> None:
    async with opened(clean["product"]) as database:
        await fetch_rows(
            database,
            """
            INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
            VALUES (gen_random_uuid(), 'POST /', 'used', '', gen_random_uuid(), now(), now() - interval '2 days')
            RETURNING key
            """,
        )
        worker = retention_worker("product", database, rules_of("product"))
        async with database.transaction() as connection, asyncio.timeout(20):
            await connection.execute("UPDATE idempotency_keys SET answer_by = now() WHERE key = 'used'")
            await delete_old(worker, database)
        assert ("used",) in await fetch_rows(database, "SELECT key FROM idempotency_keys")

        await delete_old(worker, database)
        assert ("used",) not in await fetch_rows(database, "SELECT key FROM idempotency_keys")


async def test_no_batch_looks_at_more_rows_than_it_may(database: Database, batches: list[int]) -> None:
    for published in (8 * DAY, None, 8 * DAY, 8 * DAY, 8 * DAY, 8 * DAY, None, 8 * DAY):
        await add_event(database, age=8 * DAY, published=published)

    await delete_old(retention_worker("inventory", database, rules_of("inventory")), database)

    assert batches == [2, 3, 1]
    assert len(await ids(database)) == 2


async def test_a_pass_ends_where_rows_are_young(database: Database, batches: list[int]) -> None:
    await add_event(database, age=8 * DAY, published=8 * DAY)
    for _ in range(7):
        await add_event(database, age=DAY, published=DAY)

    await delete_old(retention_worker("inventory", database, rules_of("inventory")), database)

    assert batches == [1]


async def test_another_turn_goes_on_where_the_one_before_stopped(
    database: Database, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.retention._TURN", 0)
    stuck = [await add_event(database, age=9 * DAY, published=None) for _ in range(4)]
    await add_event(database, age=9 * DAY, published=8 * DAY)

    await delete_old(retention_worker("inventory", database, rules_of("inventory")), database)

    assert batches == [0, 1]
    assert await ids(database) == stuck
    assert await fetch_rows(database, "SELECT after FROM retention") == [(None,)]


async def test_of_two_processes_none_does_what_the_other_has_done(
    clean: Mapping[str, str], database: Database, batches: list[int]
) -> None:
    for _ in range(20):
        await add_event(database, age=8 * DAY, published=8 * DAY)
    async with opened(clean["inventory"]) as other:
        workers = [retention_worker("inventory", each, rules_of("inventory")) for each in (database, other)]
        await fetch_rows(database, "UPDATE retention SET next_attempt_at = now() RETURNING name")

        await asyncio.gather(*(worker.process_due() for worker in workers))

    assert sum(batches) == 20
    assert len(batches) == 7
    assert (await noted(database, "outbox"))[0] == 20


async def test_who_has_lost_the_table_to_another_process_deletes_nothing(database: Database) -> None:
    kept = await add_event(database, age=8 * DAY, published=8 * DAY)
    robbed = Rule(
        name="outbox",
        table="outbox",
        kept=DAY,
        statement="""
            WITH stolen AS (UPDATE retention SET next_attempt_at = now() + interval '1 hour'),
            gone AS (DELETE FROM outbox RETURNING at)
            SELECT count(*) AS deleted, max(at) AS horizon, false AS more, NULL AS after FROM gone
        """,
    )

    await delete_old(retention_worker("inventory", database, [robbed]), database)

    assert await ids(database) == [kept]
    assert await noted(database, "outbox") == (0, None)


async def test_a_table_of_a_newer_release_is_left_to_its_processes(database: Database) -> None:
    await delete_old(retention_worker("inventory", database, []), database)

    assert set(await fetch_rows(database, "SELECT attempts, last_error FROM retention")) == {(0, None)}


async def test_a_stop_does_not_wait_for_the_batch_in_progress(database: Database) -> None:
    kept = await add_event(database, age=8 * DAY, published=8 * DAY)
    slow = Rule(
        name="outbox",
        table="outbox",
        kept=DAY,
        statement="""
            WITH gone AS (DELETE FROM outbox RETURNING at)
            SELECT count(*) AS deleted, max(at) AS horizon, false AS more, NULL AS after, pg_sleep(30) FROM gone
        """,
    )
    await fetch_rows(database, "UPDATE retention SET next_attempt_at = now() RETURNING name")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"

    async with running(retention_worker("inventory", database, [slow]).run):
        await until(lambda: fetch_rows(database, sleeping), lambda found: found != [(0,)])
        stopped_at = time.monotonic()

    assert time.monotonic() - stopped_at < 10
    assert await ids(database) == [kept]


async def test_a_table_grows_no_more_once_as_much_goes_as_comes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.retention._PAUSE", 0)
    worker = retention_worker("inventory", database, rules_of("inventory"))
    sizes = []
    for _ in range(4):
        await fetch_rows(
            database,
            """
            INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at)
            SELECT 'stock-events', 'key', gen_random_uuid()::text, 'stock.changed', 1, repeat('x', 300), '',
                   now() - interval '8 days'
              FROM generate_series(1, 6000) RETURNING id
            """,
        )
        await fetch_rows(database, "UPDATE outbox SET published_at = at RETURNING id")  # as the relay does
        await delete_old(worker, database)
        assert await ids(database) == []
        await until(lambda: fetch_rows(database, WHO_LOOKS_BACK), lambda found: found == [(0,)])
        async with database.autocommit() as connection:
            await connection.execute("VACUUM (TRUNCATE false) outbox")
        sizes.append((await fetch_rows(database, "SELECT pg_indexes_size('outbox'), pg_relation_size('outbox')"))[0])

    indexes, table = zip(*sizes, strict=True)
    assert table[0] > 4_000_000
    assert max(table) <= 1.02 * table[0]
    assert indexes[3] <= 1.1 * indexes[1]


FILLED = {
    "order": """
        INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at, published_at)
        SELECT 'order-events', 'key', 'filled ' || n, 'order.paid', 1, '{}', '', moment, moment
          FROM (SELECT n, now() - interval '15 days' + n * interval '1 minute' AS moment
                  FROM generate_series(1, 20000) AS n) AS numbered;
        INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
        SELECT gen_random_uuid(), 'POST /', n, '', gen_random_uuid(), now(), now() - n * interval '1 minute'
          FROM generate_series(1, 20000) AS n
    """,
    "payment": """
        INSERT INTO provider_events
               (event_id, type, received_at, status, note, processed_at, attempts, next_attempt_at)
        SELECT 'evt_' || n, 'charge.succeeded', now(), 'APPLIED', '', now() - n * interval '5 minutes', 1, now()
          FROM generate_series(1, 20000) AS n
    """,
    "user": """
        INSERT INTO refresh_tokens (id, family_id, token_hash, issued_at, expires_at, revoked_at)
        SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n - n % 5), 32, '0')::uuid,
               decode(lpad(to_hex(n), 64, '0'), 'hex'), now(), now() - interval '10 days' + n * interval '1 minute',
               CASE WHEN n % 10 = 0 THEN now() - n * interval '1 minute' END
          FROM generate_series(0, 19999) AS n;
        INSERT INTO users (id, email, name, role, seq, created_at, password_hash)
        VALUES ('00000000-0000-0000-0000-000000000001', 'filled@example.test', 'Filled', 'customer', 1, now(), '');
        INSERT INTO account_links (id, user_id, purpose, email, token_hashes, requested_at)
        SELECT lpad(to_hex(n), 32, '0')::uuid, '00000000-0000-0000-0000-000000000001', 'confirm-email', '', '{}',
               now() - interval '40 days' + n * interval '2 minutes'
          FROM generate_series(1, 20000) AS n
    """,
    "notification": """
        INSERT INTO inbox (ce_id, received_at)
        SELECT 'order:' || gen_random_uuid() || ':1', now() - n * interval '5 minutes'
          FROM generate_series(1, 20000) AS n;
        INSERT INTO notifications (id, user_id, template, ce_id, event, status, channel, created_at, sent_at, attempts,
                                   next_attempt_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'confirm_email', 'user:' || n, CASE WHEN n < 1000 THEN '{}' END,
               'SENT', 'email', now(), now() - n * interval '1 minute', 1, now()
          FROM generate_series(1, 20000) AS n;
        INSERT INTO dead_letters (id, topic, partition, record_offset, recorded_at, headers, consumer, reason, error,
                                  refused_at, status, closed_at)
        SELECT gen_random_uuid(), 'order-events', 0, n, now(), '[]', '', '', '', now(), 'RESOLVED',
               now() - n * interval '10 minutes'
          FROM generate_series(1, 20000) AS n;
        INSERT INTO dead_letter_actions (id, dead_letter_id, action, actor, note, refusal, at)
        SELECT gen_random_uuid(), id, 'RESOLVE', '', '', '', now() FROM dead_letters
    """,
}


@pytest.mark.parametrize("service", FILLED)
def test_a_batch_reads_no_table_from_end_to_end(service: str, clean: Mapping[str, str]) -> None:
    plans = {}
    with psycopg.connect(clean[service]) as connection:
        connection.execute(FILLED[service].encode())
        connection.execute("ANALYZE")
        for rule in rules_of(service):
            parameters = {"kept": rule.kept, "limit": 500, "after": rule.first}
            plan = connection.execute(f"EXPLAIN (COSTS OFF) {rule.statement}".encode(), parameters).fetchall()
            plans[rule.name] = "\n".join(line for (line,) in plan)
        connection.rollback()

    tables = set(re.findall(r"INSERT INTO (\w+)", FILLED[service]))
    filled = {rule.name: plans[rule.name] for rule in rules_of(service) if rule.table in tables}
    assert len(filled) == {"order": 2, "payment": 1, "user": 3, "notification": 3}[service]
    assert [plan for plan in filled.values() if "Seq Scan" in plan] == []


@pytest.mark.parametrize("service", SERVICES)
def test_each_rule_has_its_row_and_what_is_emptied_is_vacuumed_early(service: str, clean: Mapping[str, str]) -> None:
    rules = rules_of(service)
    with psycopg.connect(clean[service]) as connection:
        rows = connection.execute("SELECT name FROM retention").fetchall()
        options: dict[str, list[str] | None] = dict(
            connection.execute(
                "SELECT relname::text, reloptions FROM pg_class WHERE relname = ANY(%s)", [[r.table for r in rules]]
            ).fetchall()
        )

    assert sorted(name for (name,) in rows) == sorted(rule.name for rule in rules)
    emptied = {rule.table for rule in rules} - {"notifications"}  # of which no row goes
    assert [table for table in emptied if "autovacuum_vacuum_scale_factor=0.02" not in (options[table] or [])] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_foreign_key_has_an_index_by_which_a_deletion_looks_for_what_refers_to_it(
    service: str, clean: Mapping[str, str]
) -> None:
    with psycopg.connect(clean[service]) as connection:
        without = [name for (name,) in connection.execute(NO_INDEX)]
        connection.execute("CREATE TABLE child (parent text REFERENCES retention (name))")

        assert without == []
        assert connection.execute(NO_INDEX).fetchall() == [("child_parent_fkey",)]
        connection.rollback()


@pytest.mark.parametrize(
    ("setting", "least"),
    [
        ("outbox_retention", 86_400),
        ("idempotency_key_retention", 86_400),
        ("provider_event_retention", 31 * 86_400),
        ("session_retention", 3_600),
    ],
)
def test_nothing_is_forgotten_that_may_still_come_back(
    setting: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ORDERSAGA_{setting.upper()}", str(least))
    Settings.load()

    monkeypatch.setenv(f"ORDERSAGA_{setting.upper()}", str(least - 1))
    with pytest.raises(SettingsError, match=f"ORDERSAGA_{setting.upper()}: .*greater than or equal to {least}"):
        Settings.load()


def test_outboxes_do_not_outlast_their_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERSAGA_OUTBOX_RETENTION", str(31 * 86_400))

    with pytest.raises(SettingsError, match="ORDERSAGA_OUTBOX_RETENTION"):
        Settings.load()
