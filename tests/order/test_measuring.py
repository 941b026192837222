"""What the order service shows of its orders, its database and Temporal."""

from __future__ import annotations

import re
from typing import LiteralString

import pytest
from temporalio.client import Client

from domain.ids import new_id
from domain.orders import OrderStatus
from domain.saga import payment_queue
from runtime.database_measuring import database_measurements
from runtime.measuring import Reading
from runtime.metrics import (
    CLOCK_SKEW_SECONDS,
    DUE_WORK_FAILING,
    DUE_WORK_LATE_SECONDS,
    DUE_WORK_WAITING,
    ORDERS_OLDEST_SECONDS,
    ORDERS_OPEN,
    ORDERS_OVERDUE_SECONDS,
    OUTBOX_OLDEST_SECONDS,
    OUTBOX_UNPUBLISHED,
    POOL_CONNECTIONS,
    POOL_MAX,
    POOL_PENDING,
    TASK_QUEUE_BACKLOG,
    TASK_QUEUE_POLLERS,
)
from runtime.sdk_metrics import measured_runtime, read_sdk_metrics
from runtime.task_queue import task_queue_measurement
from services.order import measuring
from services.order.measuring import read_open_orders
from services.order.repository import UNSTARTED
from tests.support.client import until
from tests.support.order_shop import OrderShop
from tests.support.rows import fetch_rows
from tests.support.series import grew, samples


def shown(readings: list[Reading], gauge: object, *labels: str) -> float:
    [value] = [one.value for one in readings if one.gauge is gauge and one.labels == labels]
    return value


async def measure(shop: OrderShop) -> list[Reading]:
    measurements = database_measurements("order", shop.database, due={"starts": UNSTARTED}, reads=[read_open_orders])
    return [reading for measurement in measurements for reading in await measurement.ask()]


async def age(shop: OrderShop, order_id: str, seconds: int) -> None:
    statement = (
        "UPDATE orders SET created_at = created_at - make_interval(secs => %(seconds)s), "
        "payment_deadline = now() - make_interval(secs => %(seconds)s / 2) WHERE id = %(id)s RETURNING 1"
    )
    await fetch_rows(shop.database, statement, seconds=seconds, id=order_id)


async def test_open_orders_are_counted_with_the_oldest_and_the_one_past_its_deadline(empty_shop: OrderShop) -> None:
    shop = empty_shop
    nothing = await measure(shop)
    old, closed = await shop.pending(), await shop.pending()
    await shop.pending()
    await age(shop, old, 600)
    await age(shop, closed, 9_000)
    await fetch_rows(shop.database, "UPDATE orders SET status = 'FAILED' WHERE id = %(id)s RETURNING 1", id=closed)
    await shop.received()

    readings = await measure(shop)

    for gauge in (ORDERS_OPEN, ORDERS_OLDEST_SECONDS, ORDERS_OVERDUE_SECONDS):
        assert [shown(nothing, gauge, status) for status in ("RECEIVED", "PENDING")] == [0, 0]
    assert shown(readings, ORDERS_OPEN, "PENDING") == 2
    assert shown(readings, ORDERS_OPEN, "RECEIVED") == 1
    assert 600 <= shown(readings, ORDERS_OLDEST_SECONDS, "PENDING") < 900
    assert 300 <= shown(readings, ORDERS_OVERDUE_SECONDS, "PENDING") < 600
    assert shown(readings, ORDERS_OVERDUE_SECONDS, "RECEIVED") == 0


async def test_the_database_shows_its_outbox_its_clock_its_pool_and_what_is_due(empty_shop: OrderShop) -> None:
    shop = empty_shop
    await fetch_rows(shop.database, "UPDATE outbox SET published_at = now() RETURNING 1")
    shop.sagas.is_away = True
    await shop.received()
    failing = await shop.received()
    await fetch_rows(
        shop.database, "UPDATE outbox SET at = at - interval '90 s' WHERE published_at IS NULL RETURNING 1"
    )
    late = "UPDATE orders SET last_error = 'away', next_attempt_at = now() - interval '70 s' WHERE id = %(id)s"
    await fetch_rows(shop.database, f"{late} RETURNING 1", id=failing)

    async with shop.database.autocommit():
        readings = await measure(shop)

    assert shown(readings, OUTBOX_UNPUBLISHED, "order") == 2
    assert 90 <= shown(readings, OUTBOX_OLDEST_SECONDS, "order") < 150
    assert shown(readings, DUE_WORK_WAITING, "starts") == 2
    assert shown(readings, DUE_WORK_FAILING, "starts") == 1
    assert 70 <= shown(readings, DUE_WORK_LATE_SECONDS, "starts") < 130
    assert abs(shown(readings, CLOCK_SKEW_SECONDS, "postgresql/order")) < 1
    assert shown(readings, POOL_CONNECTIONS, "order", "used") == 1
    assert shown(readings, POOL_MAX, "order") >= 2
    assert shown(readings, POOL_PENDING, "order") == 0


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (measuring._OPEN, "ix_orders_(open|held|status_id)"),
        (UNSTARTED._backlog.replace("%(most)s", "10"), "ix_orders_unstarted"),
        ("SELECT at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 10", "ix_outbox_unpublished"),
    ],
    ids=["orders", "due work", "outbox"],
)
async def test_what_is_measured_is_read_by_an_index_of_what_is_open(
    shop: OrderShop, statement: LiteralString, index: str
) -> None:
    async with shop.database.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")  # the planner reads small tables whole
        plan: list[dict[str, str]] = await connection.fetch_all(dict, f"EXPLAIN {statement}")

    assert re.search(index, str(plan))


async def test_how_long_an_order_took_to_get_somewhere_is_measured_once(shop: OrderShop) -> None:
    before = samples()

    order_id = await shop.pending()
    await shop.close(order_id, OrderStatus.PAID)
    await shop.close(order_id, OrderStatus.PAID)

    after, name = samples(), "ordersaga_order_time_to_status_seconds_count"
    assert grew(before, after, name, status="PENDING") == 1
    assert grew(before, after, name, status="PAID") == 1


async def test_tasks_that_nobody_takes_are_seen_at_temporal(temporal: Client) -> None:
    queue = f"nobodys-{new_id()}"
    await temporal.start_workflow("Saga", id=new_id(), task_queue=queue)
    measurement = task_queue_measurement(temporal, queue)

    async def read() -> list[Reading]:
        return list(await measurement.ask())

    readings = await until(read, lambda readings: shown(readings, TASK_QUEUE_BACKLOG, queue, "workflow") == 1)

    assert shown(readings, TASK_QUEUE_POLLERS, queue, "workflow") == 0
    assert shown(readings, TASK_QUEUE_BACKLOG, queue, "activity") == 0
    assert shown(readings, TASK_QUEUE_BACKLOG, payment_queue(queue), "activity") == 0


async def test_what_the_sdk_counts_is_among_the_metrics(temporal: Client) -> None:
    target = temporal.service_client.config.target_host
    client = await Client.connect(target, runtime=measured_runtime())
    await client.count_workflows()

    assert b"temporal_request_total{" in await read_sdk_metrics()
