"""The audit knows which events were deleted, and what is published again from the rest is no breach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from cli.audit.invariants import transitions_are_published
from cli.audit.read_databases import read_orders
from cli.audit.read_outside import read_kafka
from domain.orders import OrderStatus
from runtime.settings import Settings
from sandbox.setup import publish_again
from tests.support.audit_facts import facts
from tests.support.brokers import EmbeddedBroker
from tests.support.client import until
from tests.support.order_shop import OrderShop, new_order, open_order_shop
from tests.support.relay_harness import relaying
from tests.support.retention import delete_old
from tests.support.rows import fetch_rows
from tests.support.shared_postgres import PostgresServer, unique_suffix


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def clean(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """The DSN of a database in which nobody else works."""
    return postgres.copy_databases(f"order_retention_{unique_suffix(worker_id)}", ["order"])


@pytest_asyncio.fixture
async def shop(clean: Mapping[str, str]) -> AsyncIterator[OrderShop]:
    async with open_order_shop(clean["order"]) as shop:
        await fetch_rows(shop.database, "UPDATE retention SET horizon = NULL, deleted = 0 RETURNING name")
        async with shop.database.autocommit() as connection:
            await connection.execute("TRUNCATE orders, outbox CASCADE")
        yield shop


async def age(shop: OrderShop, by: str, *, up_to: int, published: bool = True) -> None:
    """Let what was written up to this number of an order be older, and published then."""
    await fetch_rows(
        shop.database,
        "UPDATE order_transitions SET at = at - %(by)s::interval WHERE seq <= %(seq)s RETURNING seq",
        by=by,
        seq=up_to,
    )
    await fetch_rows(
        shop.database,
        """
        UPDATE outbox SET at = at - %(by)s::interval,
               published_at = CASE WHEN %(published)s THEN at - %(by)s::interval + interval '1 s' END
         WHERE ce_seq <= %(seq)s RETURNING id
        """,
        by=by,
        seq=up_to,
        published=published,
    )


async def delete(shop: OrderShop) -> None:
    await delete_old(shop.components.retention, shop.database)


async def breaches(
    shop: OrderShop, published: Mapping[str, list[int]], *, forgotten_by_kafka: datetime | None = None
) -> list[str]:
    """What the audit says of the orders' events."""
    orders, transitions = await read_orders(shop.database.dsn)
    known = facts(orders=orders, transitions=transitions, published=published, forgotten_by_kafka=forgotten_by_kafka)
    return [breach.what for breach in transitions_are_published(known)]


async def test_events_that_were_deleted_are_no_breach_and_one_that_is_missing_since_is(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await age(shop, "8 days", up_to=2)
    await fetch_rows(shop.database, "UPDATE outbox SET published_at = now() WHERE ce_seq = 3 RETURNING id")
    await delete(shop)
    assert [seq for seq, _, _ in await shop.events(order_id, after=0)] == [3]

    assert await breaches(shop, {order_id: [1, 2, 3]}) == []

    await fetch_rows(shop.database, "DELETE FROM outbox RETURNING id")
    assert await breaches(shop, {order_id: [1, 2, 3]}) == ["transition 3 has no outbox row"]


async def test_a_row_that_is_missing_though_none_was_deleted_is_a_breach_however_old_it_is(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await age(shop, "900 days", up_to=3)
    await fetch_rows(shop.database, "DELETE FROM outbox WHERE ce_seq = 1 RETURNING id")

    assert await breaches(shop, {order_id: [1, 2, 3]}) == ["transition 1 has no outbox row"]


async def test_what_was_deleted_counts_and_not_what_the_setting_says_by_now(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await age(shop, "8 days", up_to=3)
    await delete(shop)
    other = await shop.paid()
    await fetch_rows(
        shop.database,
        "UPDATE order_transitions SET at = now() - interval '7 days 12 hours' WHERE order_id = %(id)s RETURNING seq",
        id=other,
    )
    await fetch_rows(shop.database, "DELETE FROM outbox RETURNING id")

    found = await breaches(shop, {order_id: [1, 2, 3], other: [1, 2, 3]})

    assert found == [f"transition {seq} has no outbox row" for seq in (1, 2, 3)]


async def test_an_old_event_that_was_never_published_is_kept_and_told(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await age(shop, "8 days", up_to=3)
    await fetch_rows(shop.database, "UPDATE outbox SET published_at = NULL WHERE ce_seq = 2 RETURNING id")
    await delete(shop)

    assert await breaches(shop, {order_id: [1]}) == ["transition 2 is not published yet"]


async def test_a_broker_that_gets_the_history_anew_gets_what_is_left_of_it_and_the_audit_agrees(
    shop: OrderShop, tmp_path: Path
) -> None:
    order_id, old, young = await shop.paid(), await shop.paid(), None
    await age(shop, "8 days", up_to=2)
    await fetch_rows(
        shop.database,
        "UPDATE order_transitions SET at = at - interval '8 days' WHERE order_id = %(id)s AND seq = 3 RETURNING seq",
        id=old,
    )
    await fetch_rows(
        shop.database,
        """
        UPDATE outbox SET at = at - interval '8 days', published_at = at - interval '8 days'
         WHERE key = %(id)s AND ce_seq = 3 RETURNING id
        """,
        id=old,
    )
    await delete(shop)
    young = await shop.paid()
    broker = EmbeddedBroker(tmp_path / "kafka.log")
    await broker.start()
    settings = Settings(**broker.settings, relay_dsns={"order": SecretStr(shop.database.dsn)}, shutdown_grace=1)

    await publish_again([shop.database.dsn])
    async with relaying(settings):
        await until(
            lambda: fetch_rows(shop.database, "SELECT count(*) FROM outbox WHERE published_at IS NULL"),
            lambda left: left == [(0,)],
        )
    published = await read_kafka(settings)
    await broker.stop()

    assert dict(published.seqs) == {order_id: [3], young: [1, 2, 3]}
    assert await breaches(shop, published.seqs) == []
    assert await breaches(shop, {order_id: [3], young: [1, 3]}) == [
        "transition 2 is marked published, but not in Kafka",
        f"Kafka has its events as {[1, 3]}",
    ]


async def test_what_a_topic_has_forgotten_is_no_breach(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await age(shop, "3 days", up_to=2)
    await fetch_rows(shop.database, "UPDATE outbox SET published_at = now() WHERE ce_seq = 3 RETURNING id")
    horizon = datetime.now(UTC) - timedelta(days=2)

    assert await breaches(shop, {order_id: [3]}, forgotten_by_kafka=horizon) == []
    assert await breaches(shop, {order_id: [2, 3]}, forgotten_by_kafka=horizon) == []
    assert "transition 3 is marked published, but not in Kafka" in await breaches(
        shop, {order_id: [2]}, forgotten_by_kafka=horizon
    )
    assert "Kafka has its events as [3]" in await breaches(shop, {order_id: [3]})


async def test_the_page_of_an_order_tells_that_its_events_were_published(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await shop.close(await shop.pending(), OrderStatus.CANCELLED)
    await age(shop, "8 days", up_to=2)
    before = await shop.components.on_call.describe_order(order_id)
    await delete(shop)

    record = await shop.components.on_call.describe_order(order_id)

    assert record is not None
    assert before is not None
    assert [(entry.type, entry.text) for entry in record.timeline] == [
        (entry.type, entry.text) for entry in before.timeline
    ]
    [events] = [section for section in record.sections if section.title == "events"]
    assert [(row[0], row[-1]) for row in events.rows] == [
        (f"order:{order_id}:1", "published; its outbox row has been deleted since"),
        (f"order:{order_id}:2", "published; its outbox row has been deleted since"),
        (f"order:{order_id}:3", "not yet: waits for the relay"),
    ]


async def test_a_repeat_whose_key_is_forgotten_is_an_order_of_its_own(shop: OrderShop) -> None:
    new = new_order()
    first = await shop.orders.create(new, idempotency_key="key", wait=0)
    repeat = await shop.orders.create(new, idempotency_key="key", wait=0)
    await fetch_rows(
        shop.database, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' RETURNING key"
    )
    await delete(shop)

    late = await shop.orders.create(new, idempotency_key="key", wait=0)

    assert repeat.order.id == first.order.id != late.order.id
