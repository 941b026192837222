"""Steps that keep failing: nothing but the saga ends them, and attention lasts as long as its cause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError

from domain.saga import OrderResult
from runtime.database import Database
from tests.support.rows import fetch_rows
from tests.support.saga_shop import Shop
from workflows.order_saga import OrderSaga

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"


async def attention(shop: Shop, run: Run) -> list[tuple[str, bool]]:
    """The steps that held attention, and whether they still do."""
    database = Database(shop.databases["order"], pool_size=1)
    found = await fetch_rows(
        database,
        "SELECT step, cleared_at IS NULL FROM concerns WHERE order_id = %(id)s ORDER BY id",
        id=(await shop.order(run)).id,
    )
    await database.close()
    return found


async def is_held(shop: Shop, run: Run, step: str) -> None:
    """Return once a step of the running saga holds attention."""
    async with asyncio.timeout(60):
        while (step, True) not in await attention(shop, run):
            assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
            await asyncio.sleep(0.05)


async def fail_by_hand(shop: Shop) -> None:
    """What ``temporal activity fail`` does to the activity that is running."""
    info = activity.info()
    handle = shop.env.client.get_async_activity_handle(
        workflow_id=info.workflow_id or "", run_id=info.workflow_run_id, activity_id=info.activity_id
    )
    await handle.fail(ApplicationError("enough of this", non_retryable=True))
    raise ConnectionError("away")


async def test_attention_that_is_raised_late_does_not_outlast_its_cause(shop: Shop) -> None:
    product = await shop.product(units=5)
    fixed = asyncio.Event()

    async def fail() -> None:
        if not fixed.is_set():
            shop.hooks.before["reserve"] = fail
            raise ConnectionError("away")

    async def is_slow() -> None:
        fixed.set()
        async with asyncio.timeout(60):
            while (activity.info().workflow_id, "reserve") not in shop.hooks.calls:
                await shop.env.sleep(10)
        await asyncio.sleep(0.5)  # the saga goes on meanwhile, unless it waits for this

    shop.hooks.before["reserve"] = fail
    shop.hooks.before["attention"] = is_slow
    run = await shop.place((product, 2), payment_method=VISA)

    assert (await shop.result(run)).status == "PAID"
    async with asyncio.timeout(60):
        while await attention(shop, run) != [("reserve", False)]:  # noqa: ASYNC110 - the saga notifies nobody
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("step", ["reserve", "open_payment", "check_payment", "commit", "mark"])
async def test_a_step_that_an_operator_fails_by_hand_is_parked_and_can_be_retried(shop: Shop, step: str) -> None:
    product = await shop.product(units=5)

    async def fail() -> None:
        if activity.info().is_local:
            shop.hooks.before[step] = fail
            raise ConnectionError("away")
        await fail_by_hand(shop)

    shop.hooks.before[step] = fail
    run = await shop.place((product, 2), payment_method=VISA)
    if step in ("check_payment", "commit", "mark"):
        await shop.deliver_events()
    await is_held(shop, run, step)
    assert (await run.execute_update(OrderSaga.retry, None)).outcome == "DONE"
    assert (await shop.result(run)).status == "PAID"
    assert await attention(shop, run) == [(step, False)]
    assert await shop.disagreements(run) == []


async def test_a_refusal_with_a_very_long_message_parks_its_step_like_any_other(shop: Shop) -> None:
    product = await shop.product(units=5)

    async def refuse() -> None:
        raise ApplicationError("no " * 10_000, type="REFUND_FAILED", non_retryable=True)

    shop.hooks.before["void_payment"] = refuse
    run = await shop.place((product, 2), payment_method="pm_unknown")
    await is_held(shop, run, "void_payment")

    assert (await run.execute_update(OrderSaga.resolve, None)).step == "void_payment"
    assert (await shop.result(run)).reason == "PAYMENT_REJECTED"
    assert await attention(shop, run) == [("void_payment", False)]


async def test_attention_that_an_operator_fails_by_hand_does_not_end_the_saga(shop: Shop) -> None:
    product = await shop.product(units=5)

    async def refuse() -> None:
        raise ApplicationError("no", type="REFUND_FAILED", non_retryable=True)

    async def fail() -> None:
        failed.set()
        await fail_by_hand(shop)

    failed = asyncio.Event()
    shop.hooks.before["void_payment"] = refuse
    shop.hooks.before["attention"] = fail
    run = await shop.place((product, 2), payment_method="pm_unknown")
    await failed.wait()

    assert (await run.execute_update(OrderSaga.retry, None)).step == "void_payment"
    assert (await shop.result(run)).reason == "PAYMENT_REJECTED"
    assert await shop.disagreements(run) == []
