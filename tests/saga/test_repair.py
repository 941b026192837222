"""A saga that is started again after its workflow was terminated, at whatever step, brings its order to one end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle

from domain.orders import OrderStatus
from domain.saga import OrderResult, order_workflow_id
from runtime.settings import Settings
from services.order.bootstrap import bootstrap
from tests.support.identities import tls_settings
from tests.support.saga_shop import TASK_QUEUE, Shop

SHORT_TIMEOUT = Settings(temporal_task_queue=TASK_QUEUE, payment_event_timeout=0.1, **tls_settings())
"""After a termination the test server skips no time: the timeout passes in real time."""

Run = WorkflowHandle[Any, OrderResult]

FORWARD = ("quote", "reserve", "open_payment", "mark_pending", "check_payment", "commit", "mark")
WHILE_PENDING = ("check_payment", "commit", "mark")
UNDO = ("void_payment", "release", "mark")


@pytest.fixture
def shop(disposable_shop: Shop) -> Shop:
    """Each test terminates a workflow."""
    return disposable_shop


class Strike:
    """A step whose workflow is terminated meanwhile."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._done = asyncio.Event()

    async def __call__(self) -> None:
        await self._shop.env.client.get_workflow_handle(activity.info().workflow_id or "").terminate()
        self._done.set()

    async def done(self) -> None:
        """Wait for it, in real time: the server skips none while nobody waits for a result."""
        await self._done.wait()


async def repair(shop: Shop, order_id: str) -> bool:
    async with bootstrap(SHORT_TIMEOUT, database=shop.order_database, temporal=shop.env.client) as order:
        return await order.desk.repair(order_id, actor="operator:test", note="")


def order_of(run: Run) -> str:
    return run.id.removeprefix(order_workflow_id(""))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", FORWARD)
async def test_an_order_terminated_at_any_step_is_paid_after_its_repair(shop: Shop, step: str, moment: str) -> None:
    product = await shop.product(price=1_000, units=5)
    strike = Strike(shop)
    getattr(shop.hooks, moment)[step] = strike
    run = await shop.place((product, 2), payment_method="pm_card_visa", wait=10 if step in WHILE_PENDING else 0)
    await shop.deliver_events()
    await strike.done()

    assert await repair(shop, order_of(run))
    repaired = shop.env.client.get_workflow_handle(run.id, result_type=OrderResult)

    assert (await shop.result(repaired)).status is OrderStatus.PAID
    assert (await shop.stock(product)).on_hand == 3
    assert await shop.disagreements(repaired) == []


@pytest.mark.parametrize(("refunded", "status"), [(500, "PARTIALLY_REFUNDED"), (2_000, "REFUNDED")])
async def test_an_order_refunded_before_its_repair_ends_as_it_is(shop: Shop, refunded: int, status: str) -> None:
    product = await shop.product(price=1_000, units=5)
    strike = Strike(shop)
    shop.hooks.after["mark"] = strike
    run = await shop.place((product, 2), payment_method="pm_card_visa", wait=10)
    await shop.deliver_events()
    await strike.done()
    await shop.apply_refund(order_of(run), refunded)
    done = len(shop.steps_of(run))

    assert await repair(shop, order_of(run))
    repaired = shop.env.client.get_workflow_handle(run.id, result_type=OrderResult)

    assert (await shop.result(repaired)).status == status
    order = await shop.order(repaired)
    assert [t.to_status for t in order.transitions] == ["RECEIVED", "PENDING", "PAID", status]
    assert shop.steps_of(run)[done:][-1] == "mark"
    assert not {"void_payment", "release"} & set(shop.steps_of(run))
    assert (await shop.stock(product)).on_hand == 3


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", UNDO)
async def test_an_order_terminated_while_it_was_undone_is_undone_by_its_repair(
    shop: Shop, step: str, moment: str
) -> None:
    product = await shop.product(units=5)
    strike = Strike(shop)
    getattr(shop.hooks, moment)[step] = strike
    run = await shop.place((product, 2), payment_window_seconds=1)
    await strike.done()

    assert await repair(shop, order_of(run))
    repaired = shop.env.client.get_workflow_handle(run.id, result_type=OrderResult)

    assert (await shop.result(repaired)).status is OrderStatus.FAILED
    stock = await shop.stock(product)
    assert (stock.on_hand, stock.reserved) == (5, 0)
    assert await shop.disagreements(repaired) == []


async def test_an_order_whose_price_changed_before_it_was_pending_fails_and_its_money_goes_back(shop: Shop) -> None:
    product = await shop.product(price=1_000, units=5)
    strike = Strike(shop)

    async def terminate_and_fail() -> None:
        await strike()
        raise ConnectionError("the order service is away")  # else the worker would go on with its task for a while

    shop.hooks.before["mark_pending"] = terminate_and_fail
    run = await shop.place((product, 2), payment_method="pm_card_visa")
    await strike.done()
    await shop.set_price(product, 1_200)

    assert await repair(shop, order_of(run))
    repaired = shop.env.client.get_workflow_handle(run.id, result_type=OrderResult)
    result = await shop.result(repaired)
    await shop.deliver_events()

    assert (result.status, result.reason) == (OrderStatus.FAILED, "PRICE_CHANGED")
    assert (await shop.stock(product)).available == 5
    assert await shop.disagreements(repaired) == []
