"""A cancelled workflow ends with money, stock and order in agreement, wherever the cancellation hits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from domain.saga import OrderResult
from tests.support.saga_shop import Hook, Shop

Run = WorkflowHandle[Any, OrderResult]

FORWARD: Final = ("quote", "reserve", "open_payment", "mark_pending", "check_payment", "commit", "mark")
PAST_THE_PIVOT: Final = frozenset({"check_payment", "commit", "mark"})
UNDO: Final = ("void_payment", "release", "mark")


def cancel(shop: Shop) -> Hook:
    """A step whose workflow is cancelled meanwhile."""

    async def hook() -> None:
        await shop.env.client.get_workflow_handle(activity.info().workflow_id or "").cancel()

    return hook


def lose(shop: Shop) -> Hook:
    """The same, and its answer is lost: the step runs again."""

    async def hook() -> None:
        await cancel(shop)()
        raise ConnectionError("the answer is lost")

    return hook


MOMENTS: Final[dict[str, tuple[str, Callable[[Shop], Hook]]]] = {
    "before": ("before", cancel),
    "after": ("after", cancel),
    "fails": ("before", lose),
    "answer-lost": ("after", lose),
}


def arm(shop: Shop, step: str, moment: str) -> None:
    """Cancel the workflow at that moment of the step's first call."""
    when, make = MOMENTS[moment]
    getattr(shop.hooks, when)[step] = make(shop)


async def ending(shop: Shop, run: Run) -> str:
    """The order's status once its workflow closed; a CANCELLED order's workflow is cancelled too."""
    try:
        await shop.result(run)
        was_cancelled = False
    except WorkflowFailureError as error:
        was_cancelled = isinstance(error.cause, CancelledError)
    status = (await shop.order(run)).status
    assert was_cancelled == (status == "CANCELLED")
    return status


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", FORWARD)
async def test_a_workflow_cancelled_at_any_step_leaves_money_and_stock_in_agreement(
    shop: Shop, step: str, moment: str
) -> None:
    product = await shop.product(units=5)
    arm(shop, step, moment)
    run = await shop.place((product, 2), payment_method="pm_card_visa", wait=10)
    await shop.deliver_events()

    status = await ending(shop, run)

    stock = await shop.stock(product)
    assert (status, stock.on_hand, stock.reserved) in [("PAID", 3, 0), ("CANCELLED", 5, 0)]
    if step in PAST_THE_PIVOT:
        assert status == "PAID"
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", UNDO)
async def test_a_workflow_cancelled_while_it_compensates_compensates_to_the_end(
    shop: Shop, step: str, moment: str
) -> None:
    product = await shop.product(units=5)
    arm(shop, step, moment)
    run = await shop.place((product, 2), payment_window_seconds=60, wait=10)

    status = await ending(shop, run)

    stock = await shop.stock(product)
    assert (status, (await shop.order(run)).reason) == ("FAILED", "PAYMENT_TIMEOUT")
    assert (stock.on_hand, stock.reserved) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_an_order_cancelled_while_it_waits_closes_its_payment(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)

    await run.cancel()

    assert await ending(shop, run) == "CANCELLED"
    assert (await shop.order(run)).reason == "OPERATOR"
    assert (await shop.stock(product)).reserved == 0
    assert await shop.disagreements(run) == []


async def test_money_that_came_before_the_cancellation_is_kept_and_the_order_is_paid(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)
    assert await shop.pay(run)

    await run.cancel()

    assert await ending(shop, run) == "PAID"
    assert await shop.disagreements(run) == []


async def test_an_order_cancelled_and_paid_in_one_moment_ends_one_way(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)
    assert await shop.pay(run)

    await shop.deliver_events()
    await run.cancel()

    assert await ending(shop, run) == "PAID"
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("step", ["quote", "reserve", "open_payment", "mark_pending"])
async def test_a_cancellation_ends_the_retries_of_a_step_that_keeps_failing(disposable_shop: Shop, step: str) -> None:
    shop = disposable_shop  # whose server may skip no time any more: the workflow may close while a retry is under way
    product = await shop.product(units=5)
    attempts = 0

    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 4:
            await cancel(shop)()
        shop.hooks.before[step] = fail
        raise ConnectionError("away")

    shop.hooks.before[step] = fail
    run = await shop.place((product, 2), payment_method="pm_card_visa")

    assert await ending(shop, run) == "CANCELLED"
    assert (await shop.stock(product)).available == 5
    assert await shop.disagreements(run) == []
