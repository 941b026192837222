"""An order that is cancelled over the order service: the request is stored, sent to its saga, and answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from domain.ids import new_id
from domain.orders import CancelledBy, OrderStatus
from domain.saga import CANCEL_UPDATE, CancelRequest, OrderResult, order_workflow_id
from runtime.caller import Caller, CallerRole
from services.order.cancellation_service import Cancelled
from services.order.errors import OrderNotCancellable
from tests.support.saga_shop import Shop

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"
ADMIN = Caller(CallerRole.ADMIN, new_id())
PAST_THE_PIVOT = frozenset({"check_payment", "commit", "mark"})


async def cancel(shop: Shop, run: Run, *, wait: float = 10) -> Cancelled:
    order = await shop.order(run)
    return await shop.cancellations.cancel(order.id, caller=ADMIN, note="", idempotency_key=new_id(), wait=wait)


async def test_a_waiting_order_is_cancelled_with_its_stock_given_back_and_nothing_charged(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)

    cancelled = await cancel(shop, run)

    assert (cancelled.order.status, cancelled.order.reason) == (OrderStatus.CANCELLED, "ADMIN")
    assert (await shop.stock(product)).available == 5
    result = await shop.result(run)
    assert (result.status, result.reason) == (OrderStatus.CANCELLED, "ADMIN")
    assert (await run.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert await shop.disagreements(run) == []


async def test_a_paid_order_is_not_cancellable(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), payment_method=VISA, wait=10)
    await shop.deliver_events()
    await shop.result(run)

    with pytest.raises(OrderNotCancellable):
        await cancel(shop, run)

    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("event_first", [True, False])
async def test_of_a_payment_and_a_cancellation_at_once_one_wins_and_money_and_stock_follow_it(
    shop: Shop, event_first: bool
) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)
    await shop.pay(run)

    both = [shop.deliver_events(), cancel(shop, run)]
    _, outcome = await asyncio.gather(*(both if event_first else reversed(both)), return_exceptions=True)

    status = (await shop.result(run)).status
    assert status is OrderStatus.PAID  # the money was in before anybody asked
    assert any(isinstance(answer, OrderNotCancellable) for answer in (_, outcome))
    assert (await shop.stock(product)).on_hand == 3
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize(
    "step", ["quote", "reserve", "open_payment", "mark_pending", "check_payment", "commit", "mark"]
)
async def test_a_cancellation_during_any_step_ends_the_order_one_way_or_the_other(shop: Shop, step: str) -> None:
    product = await shop.product(units=5)

    async def request_cancellation() -> None:
        # The answer comes with the order's end, and this step is part of the way there: so nobody waits for it here.
        order_id = (activity.info().workflow_id or "").removeprefix(order_workflow_id(""))
        sent.append(
            asyncio.create_task(
                shop.cancellations.cancel(order_id, caller=ADMIN, note="", idempotency_key=new_id(), wait=10)
            )
        )

    sent: list[asyncio.Task[Cancelled]] = []
    shop.hooks.before[step] = request_cancellation
    run = await shop.place((product, 2), payment_method=VISA, wait=10)
    await shop.deliver_events()

    status = (await shop.result(run)).status
    answers = await asyncio.gather(*sent, return_exceptions=True)

    stock = await shop.stock(product)
    assert (status, stock.on_hand, stock.reserved) in [("PAID", 3, 0), ("CANCELLED", 5, 0)]
    if step in PAST_THE_PIVOT:
        assert status == "PAID"
    assert len(answers) == 1
    assert isinstance(answers[0], OrderNotCancellable if status == "PAID" else Cancelled)
    assert await shop.disagreements(run) == []


async def test_a_repeated_update_answers_with_the_same_end(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)
    request = CancelRequest(cancelled_by=CancelledBy.CUSTOMER)

    first = await run.execute_update(CANCEL_UPDATE, request, id="cancel", result_type=OrderResult)
    again = await run.execute_update(CANCEL_UPDATE, request, id="cancel", result_type=OrderResult)

    assert first == again
    assert (first.status, first.reason) == (OrderStatus.CANCELLED, "CUSTOMER")


async def test_the_first_of_two_requests_names_who_cancelled(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)

    answers = await asyncio.gather(cancel(shop, run), run.cancel())

    assert isinstance(answers[0], Cancelled)
    assert answers[0].order.reason in ("ADMIN", "OPERATOR")
    assert await shop.disagreements(run) == []
