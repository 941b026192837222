"""Whatever wakes a waiting workflow, however often: failed attempts end the order, and no history grows for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest_asyncio
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from domain.ids import new_id
from domain.refunds import RefundStatus
from domain.saga import OrderResult, dispute_workflow_id
from runtime.caller import Caller, CallerRole
from tests.support.saga_refunds import (
    DISPUTED,
    PENDING,
    attention_is,
    made_at_stripe,
    paid,
    payment_of,
    refund_saga,
    refunds_become,
    request_refund,
)
from tests.support.saga_shop import Shop, open_shop
from workers.order_worker import workflow_runner
from workflows import history

Run = WorkflowHandle[Any, OrderResult]

AUTHENTICATION = "pm_card_authenticationRequired"
ADMIN = Caller(CallerRole.ADMIN, new_id())
BOUND = 100
"""Events of a run in these tests."""
WAKE_UPS = 150


@pytest_asyncio.fixture
async def shop(
    disposable_databases: Mapping[str, str], disposable_env: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[Shop]:
    """A shop whose workflows have a low bound, which the sandbox would not see, and where no refund ends by itself."""
    runner = workflow_runner(sandbox=False)
    with patch.object(history, "MAX_EVENTS", BOUND):
        async with open_shop(
            disposable_databases, disposable_env, data=tmp_path, runner=runner, late_after=None
        ) as shop:
            yield shop


async def intent_of(shop: Shop, run: Run) -> str:
    """The intent that the order's customer pays with."""
    return (await payment_of(shop, run)).intent_id or ""


async def wake(shop: Shop, run: WorkflowHandle[Any, Any], signal: str, *, with_id: bool = False) -> str:
    """Wake a workflow hundreds of times for nothing; the id of its first run."""
    first = (await run.describe()).run_id
    for number in range(WAKE_UPS):
        known = len(shop.steps_of(run))
        with suppress(RPCError):  # the test server has no run for a moment, while one goes on in the next
            await run.signal(signal, args=[f"evt_{number}"] if with_id else [])
        while len(shop.steps_of(run)) == known:  # noqa: ASYNC110 - it has not looked yet, and notifies nobody
            await asyncio.sleep(0.005)
    return first


async def lengths_of_runs(shop: Shop, workflow_id: str, first: str) -> list[int]:
    """How many events each run of the workflow has, from the first one on."""
    lengths, run_id = [], first
    while run_id:
        events = (await shop.env.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()).events
        lengths.append(len(events))
        run_id = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return lengths


def are_bounded(lengths: list[int]) -> bool:
    """Whether there were several runs, none of them much longer than the bound."""
    return len(lengths) > 3 and max(lengths) < 2 * BOUND


async def fail_authentication(shop: Shop, run: Run) -> None:
    """The customer tries to pay, and fails at their bank."""
    await shop.pay(run, AUTHENTICATION)
    await shop.switch(f"payment_intents/{await intent_of(shop, run)}/authenticate", outcome="fail")


async def test_authentications_that_fail_use_up_the_attempts(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)

    for _ in range(3):
        await fail_authentication(shop, run)
    await shop.deliver_events()
    result = await shop.result(run)

    assert (result.status, result.reason) == ("FAILED", "PAYMENT_DECLINED")
    assert (await shop.stock(product)).available == 5
    assert await shop.disagreements(run) == []


async def test_an_order_that_is_woken_hundreds_of_times_for_nothing_has_short_histories_and_is_paid(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)
    deadline = (await shop.order(run)).payment_deadline

    first = await wake(shop, run, "payment_changed", with_id=True)
    await shop.pay(run)
    await shop.deliver_events()

    assert (await shop.result(run)).status == "PAID"
    assert are_bounded(await lengths_of_runs(shop, run.id, first))
    assert (await shop.order(run)).payment_deadline == deadline
    assert await shop.disagreements(run) == []


async def test_an_order_that_was_woken_hundreds_of_times_can_be_cancelled(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 2), wait=10)
    await wake(shop, run, "payment_changed", with_id=True)

    order = await shop.order(run)
    cancelled = await shop.cancellations.cancel(order.id, caller=ADMIN, note="", idempotency_key=new_id(), wait=10)

    assert cancelled.order.status == "CANCELLED"
    assert (await shop.stock(product)).available == 5
    assert await shop.disagreements(run) == []


async def test_a_refund_that_is_woken_hundreds_of_times_for_nothing_has_short_histories(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await request_refund(shop, run, wait=0.5)
    saga = refund_saga(shop, requested.refund)

    first = await wake(shop, saga, "refund_changed")
    await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="succeeded")
    await shop.deliver_events()

    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    assert are_bounded(await lengths_of_runs(shop, saga.id, first))
    assert await shop.disagreements(run) == []


async def test_a_dispute_that_is_woken_hundreds_of_times_for_nothing_has_short_histories(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=DISPUTED)
    await shop.deliver_events()
    await attention_is(shop, run, "dispute")
    [dispute] = (await payment_of(shop, run)).disputes
    case = shop.env.client.get_workflow_handle(dispute_workflow_id(dispute.id))

    first = await wake(shop, case, "dispute_changed")
    await shop.switch(f"disputes/{dispute.id}", status="won")
    await shop.deliver_events()

    assert await case.result() == "WON"
    assert are_bounded(await lengths_of_runs(shop, case.id, first))
    await attention_is(shop, run)
