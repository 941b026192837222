"""An order that waited for too long for its saga is not charged any more; one that came further is not touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from domain.ids import new_id
from domain.orders import OrderLine
from domain.saga import OrderResult, order_workflow_id
from runtime.due_work import Claimed
from runtime.settings import Settings
from services.order.bootstrap import OrderComponents, bootstrap
from services.order.model import NewOrder
from services.order.repository import OrderRepository
from tests.support.identities import tls_settings
from tests.support.recorded_sagas import RecordedSagas
from tests.support.saga_shop import ADDRESS, TASK_QUEUE, Shop
from workers.order_worker import workflow_runner
from workers.queues import Slots, working

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"
NOBODYS_QUEUE = "saga-tests-without-a-worker"
SETTINGS = Settings.model_validate({"temporal_task_queue": TASK_QUEUE, **tls_settings()})
LIMIT = timedelta(seconds=SETTINGS.acceptance_limit)
CLOCKS_APART = timedelta(minutes=5)


@asynccontextmanager
async def order_service(
    shop: Shop, *, at: datetime, sagas: RecordedSagas | None = None, settings: Settings = SETTINGS
) -> AsyncIterator[OrderComponents]:
    """The order service with its clock at that time, which need not be Temporal's."""
    async with bootstrap(
        settings, database=shop.order_database, temporal=shop.env.client, sagas=sagas, clock=lambda: at
    ) as order:
        yield order


async def accept(shop: Shop, product: str, *, at: datetime) -> str:
    """An order of two units with a card that Temporal did not take."""
    new = NewOrder(
        user_id=new_id(),
        lines=[OrderLine(product, 2)],
        currency="EUR",
        shipping_address=ADDRESS,
        payment_method=VISA,
        payment_window_seconds=900,
    )
    sagas = RecordedSagas()
    sagas.is_away = True
    async with order_service(shop, at=at, sagas=sagas) as order:
        created = await order.orders.create(new, idempotency_key=new_id(), wait=0)
    return created.order.id


async def start(shop: Shop, order_id: str, *, at: datetime, settings: Settings = SETTINGS) -> Run:
    """Temporal is back, and the order is due for its saga."""
    async with order_service(shop, at=at, settings=settings) as order:
        async with order.database.autocommit() as connection:
            accepted = await OrderRepository(connection).find_accepted(order_id)
        assert accepted is not None
        await order.orders.start_due(Claimed(key=order_id, item=accepted, attempt=1, lease_ends_at=at))
    return shop.env.client.get_workflow_handle(order_workflow_id(order_id), result_type=OrderResult)


@pytest.mark.parametrize("waited", [LIMIT + timedelta(seconds=1), timedelta(days=3)])
async def test_an_order_that_waited_too_long_for_temporal_fails_uncharged(shop: Shop, waited: timedelta) -> None:
    product = await shop.product(units=5)
    accepted_at = datetime.now(UTC)
    order_id = await accept(shop, product, at=accepted_at)

    run = await start(shop, order_id, at=accepted_at + waited)
    result = await shop.result(run)

    assert (result.status, result.reason) == ("FAILED", "ACCEPTED_TOO_LATE")
    assert set(shop.steps_of(run)).isdisjoint({"quote", "reserve", "open_payment"})
    stock = await shop.stock(product)
    assert (stock.available, stock.reserved) == (5, 0)
    assert (await shop.payments.check(order_id, refresh=False)).intent_id is None
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("apart", [-CLOCKS_APART, timedelta(), CLOCKS_APART])
async def test_an_order_that_waited_less_is_sold_wherever_the_clocks_stand(shop: Shop, apart: timedelta) -> None:
    product = await shop.product(units=5)
    accepted_at = datetime.now(UTC) + apart
    order_id = await accept(shop, product, at=accepted_at)

    run = await start(shop, order_id, at=accepted_at + LIMIT - timedelta(seconds=5))
    result = await shop.result(run)

    assert result.status == "PAID"
    assert await shop.disagreements(run) == []


async def test_an_order_that_waited_too_long_for_a_worker_fails_uncharged(shop: Shop) -> None:
    product = await shop.product(units=5)
    now = datetime.now(UTC)
    order_id = await accept(shop, product, at=now)
    short = SETTINGS.model_copy(update={"temporal_task_queue": NOBODYS_QUEUE, "acceptance_limit": 0.2})
    run = await start(shop, order_id, at=now, settings=short)
    await asyncio.sleep(0.5)  # the server skips no time while a workflow waits for its worker

    runner = workflow_runner(sandbox=True)
    async with working(
        shop.env.client,
        shop.activities,
        task_queue=NOBODYS_QUEUE,
        runner=runner,
        slots=Slots.of(SETTINGS),
        grace=1,
        version=None,
    ):
        result = await shop.result(run)

    assert (result.status, result.reason) == ("FAILED", "ACCEPTED_TOO_LATE")
    assert await shop.disagreements(run) == []


async def test_a_pending_order_keeps_its_payment_deadline_however_late_its_saga_is_repaired(
    disposable_shop: Shop,
) -> None:
    shop = disposable_shop
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10, payment_window_seconds=86_400)
    pending = await shop.order(run)
    await run.terminate()
    await shop.pay(run)

    async with order_service(shop, at=pending.created_at + timedelta(hours=20)) as order:
        assert await order.desk.repair(pending.id, actor="operator:test", note="")
    await shop.deliver_events()
    repaired = shop.env.client.get_workflow_handle(run.id, result_type=OrderResult)

    assert (await shop.result(repaired)).status == "PAID"
    assert (await shop.order(run)).payment_deadline == pending.payment_deadline
    assert await shop.disagreements(repaired) == []


async def test_an_order_that_never_became_pending_is_not_charged_by_a_repair_that_comes_too_late(
    disposable_shop: Shop,
) -> None:
    shop = disposable_shop
    product = await shop.product(units=5)
    accepted_at = datetime.now(UTC)
    order_id = await accept(shop, product, at=accepted_at)

    async with order_service(shop, at=accepted_at + timedelta(days=3)) as order:
        assert await order.desk.repair(order_id, actor="operator:test", note="")
    run: Run = shop.env.client.get_workflow_handle(order_workflow_id(order_id), result_type=OrderResult)

    assert (await shop.result(run)).reason == "ACCEPTED_TOO_LATE"
    assert await shop.disagreements(run) == []
