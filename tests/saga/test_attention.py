"""A step that keeps failing, or is refused for a reason that its saga has no answer to, is seen and freed by people."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError

from domain.orders import OrderLine
from domain.saga import OrderResult, order_workflow_id
from runtime.database import Database
from tests.support.rows import fetch_rows
from tests.support.saga_shop import Hook, Shop
from workflows.order_saga import OrderSaga
from workflows.web_ui import ATTENTION

Run = WorkflowHandle[Any, OrderResult]


async def open_attention(shop: Shop, run: Run) -> list[tuple[str, str]]:
    """Step and note of the order's attention that is not cleared."""
    database = Database(shop.databases["order"], pool_size=1)
    try:
        return await fetch_rows(
            database,
            "SELECT step, cause FROM concerns WHERE order_id = %(id)s AND cleared_at IS NULL",
            id=run.id.removeprefix(order_workflow_id("")),
        )
    finally:
        await database.close()


async def attention_attribute(run: Run) -> str | None:
    """The search attribute by which lists of workflows are filtered."""
    return (await run.describe()).typed_search_attributes.get(ATTENTION)


def watch_attention(shop: Shop) -> asyncio.Queue[None]:
    """An item each time that attention was raised or cleared at the order service."""
    changes: asyncio.Queue[None] = asyncio.Queue()

    async def hook() -> None:
        shop.hooks.after["attention"] = hook
        changes.put_nowait(None)

    shop.hooks.after["attention"] = hook
    return changes


async def test_a_step_that_fails_for_a_minute_raises_attention_until_it_succeeds(shop: Shop) -> None:
    product = await shop.product(units=5)
    seen: list[Any] = []

    async def fail_until_seen() -> None:
        run: Run = shop.env.client.get_workflow_handle(activity.info().workflow_id or "")
        if attention := await open_attention(shop, run):
            seen.extend([attention, await attention_attribute(run)])
            return
        shop.hooks.before["reserve"] = fail_until_seen
        raise ConnectionError("away")

    shop.hooks.before["reserve"] = fail_until_seen
    run = await shop.place((product, 2), payment_method="pm_card_visa")
    result = await shop.result(run)

    assert seen == [[("reserve", "has failed for 60 s: ConnectionError: away")], "reserve"]
    assert await open_attention(shop, run) == []
    assert await attention_attribute(run) is None
    assert result.status == "PAID"
    assert await shop.disagreements(run) == []


async def sell_by_hand(shop: Shop, run: Run) -> None:
    """Somebody commits the reservation of an order that is about to fail: its release is refused from then on."""
    await shop.inventory.commit(run.id.removeprefix(order_workflow_id("")))


async def test_a_refused_compensation_parks_the_workflow_until_it_is_resolved_by_hand(shop: Shop) -> None:
    product = await shop.product(units=5)
    changes = watch_attention(shop)
    run = await shop.place((product, 2), payment_window_seconds=60, wait=10)
    await sell_by_hand(shop, run)
    await shop.env.sleep(61)

    await changes.get()
    assert [step for step, _ in await open_attention(shop, run)] == ["release"]
    assert await attention_attribute(run) == "release"
    assert (await shop.order(run)).status == "PENDING"
    again = await run.execute_update(OrderSaga.retry, None)
    assert (again.step, again.outcome, again.refusal) == ("release", "REFUSED", "RESERVATION_COMMITTED")
    assert [step for step, _ in await open_attention(shop, run)] == ["release"]
    resolved = await run.execute_update(OrderSaga.resolve, None)
    assert (resolved.step, resolved.outcome) == ("release", "RESOLVED")
    result = await shop.result(run)

    assert (result.status, result.reason) == ("FAILED", "PAYMENT_TIMEOUT")
    assert await open_attention(shop, run) == []
    assert await attention_attribute(run) is None


async def test_a_refused_forward_step_cannot_be_skipped_but_its_order_can_be_cancelled(shop: Shop) -> None:
    product = await shop.product(units=5)
    changes = watch_attention(shop)
    run = await park_in_reserve(shop, product)
    await changes.get()

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.execute_update(OrderSaga.resolve, None)
    assert "cannot be resolved by hand" in str(refused.value.cause)
    await run.cancel()
    with pytest.raises(WorkflowFailureError):
        await shop.result(run)

    assert (await shop.order(run)).status == "CANCELLED"
    assert await open_attention(shop, run) == []
    assert await shop.disagreements(run) == []


async def park_in_reserve(shop: Shop, product: str) -> Run:
    """An order for which other lines were reserved before the saga could reserve its own."""

    async def reserve_another() -> None:
        await shop.inventory.reserve(run_id.result(), [OrderLine(product, 1)])

    run_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    shop.hooks.before["reserve"] = wait_then(run_id, reserve_another)
    run = await shop.place((product, 2))
    run_id.set_result(run.id.removeprefix(order_workflow_id("")))
    return run


def wait_then(future: asyncio.Future[str], act: Hook) -> Hook:
    async def hook() -> None:
        await asyncio.shield(future)
        await act()

    return hook


async def test_nothing_can_be_retried_or_resolved_while_no_step_is_stuck(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)

    for update in (OrderSaga.retry, OrderSaga.resolve):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await run.execute_update(update)
        assert "no step is parked" in str(refused.value.cause)

    await run.cancel()
