"""A workflow task that is lost (its worker died, or Temporal refused its outcome) runs again, with all its local steps.

What those steps did stays done, while nothing of it is in the history: the second run may be cancelled, refused or
priced otherwise, and must end with money, stock and order in agreement all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from domain.orders import OrderStatus
from domain.saga import PAYMENT_CHANGED_SIGNAL, OrderResult
from runtime.database import Database
from services.order.model import Mark
from tests.support.saga_shop import Hook, Shop, open_shop
from tests.support.shared_postgres import PostgresServer, unique_suffix
from workers.order_worker import workflow_runner

Run = WorkflowHandle[Any, OrderResult]

VISA: Final = "pm_card_visa"
TIMEOUT: Final = 20
"""Seconds of real time after which a workflow that has not closed never will."""


class ForgetfulRunner(WorkflowRunner):
    """Runs workflow code as the worker does, but loses a task on request, as if the worker had died."""

    def __init__(self) -> None:
        self._inner = workflow_runner(sandbox=True)
        self.lose_next = False

    def prepare_workflow(self, defn: Any) -> None:
        self._inner.prepare_workflow(defn)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        self._inner.set_worker_level_failure_exception_types(types)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._inner.create_instance(det)
        activate: Callable[[WorkflowActivation], WorkflowActivationCompletion] = instance.activate

        def activate_or_lose(act: WorkflowActivation) -> WorkflowActivationCompletion:
            completion = activate(act)
            is_eviction = any(job.HasField("remove_from_cache") for job in act.jobs)
            if self.lose_next and not is_eviction:
                self.lose_next = False
                completion.failed.failure.message = "lost"
            return completion

        instance.activate = activate_or_lose  # type: ignore[method-assign]  # the one place where a task can be lost
        return instance


@dataclass(frozen=True, slots=True)
class Loss:
    """The shop, and a worker that can lose a task."""

    shop: Shop
    runner: ForgetfulRunner

    def task(self, *also: Hook) -> Hook:
        """Lose the workflow task in which the hook runs; what is done besides is seen by the next run only."""

        async def hook() -> None:
            for each in also:
                await each()
            self.runner.lose_next = True

        return hook

    async def cancel(self) -> None:
        await self.shop.env.client.get_workflow_handle(activity.info().workflow_id or "").cancel()


@pytest_asyncio.fixture(scope="session")
async def open_loss(
    postgres: PostgresServer, worker_id: str, env: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Loss]:
    runner = ForgetfulRunner()
    databases = postgres.copy_databases(f"lost_{unique_suffix(worker_id)}")
    data = tmp_path_factory.mktemp("stripe")
    async with open_shop(databases, env, data=data, runner=runner, task_queue="lost-tasks") as shop:
        yield Loss(shop, runner)


@pytest.fixture
def loss(open_loss: Loss) -> Iterator[Loss]:
    open_loss.shop.hooks.clear()
    yield open_loss
    open_loss.shop.hooks.clear()
    open_loss.runner.lose_next = False


async def ending(shop: Shop, run: Run) -> tuple[str, str | None]:
    """How the order ended once its workflow closed by itself, with money and stock in agreement."""
    cause: BaseException | None = None
    try:
        async with asyncio.timeout(TIMEOUT):
            await shop.result(run)
    except WorkflowFailureError as error:
        cause = error.cause
    assert cause is None or isinstance(cause, CancelledError)  # a parked one is timed out, in years of the skipped time
    assert await shop.disagreements(run) == []
    order = await shop.order(run)
    return order.status, order.reason


FORWARD: Final = ("quote", "reserve", "open_payment", "mark_pending", "check_payment", "commit", "mark")


@pytest.mark.parametrize("cancelled", [False, True], ids=["", "cancelled"])
@pytest.mark.parametrize("step", FORWARD)
async def test_a_paid_order_survives_the_loss_of_any_task(loss: Loss, step: str, cancelled: bool) -> None:
    shop = loss.shop
    product = await shop.product(units=5)
    shop.hooks.after[step] = loss.task(*([loss.cancel] if cancelled else []))
    run = await shop.place((product, 2), payment_method=VISA, wait=10)
    await shop.deliver_events()

    status, _ = await ending(shop, run)

    stock = await shop.stock(product)
    assert (status, stock.on_hand, stock.reserved) in [("PAID", 3, 0), ("CANCELLED", 5, 0)]
    assert status == "PAID" or cancelled


@pytest.mark.parametrize("cancelled", [False, True], ids=["", "cancelled"])
@pytest.mark.parametrize("step", ["void_payment", "release", "mark"])
@pytest.mark.parametrize(
    ("quantity", "changes", "reasons"),
    [
        (2, {"expected_total": 1}, "PRICE_CHANGED"),
        (9, {}, "OUT_OF_STOCK or STOCK_LOST"),
        (2, {"payment_method": "pm_unknown"}, "PAYMENT_REJECTED or STOCK_LOST or PAYMENT_CANCELLED"),
        (2, {}, "PAYMENT_TIMEOUT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failed_order_survives_the_loss_of_any_task(
    loss: Loss, quantity: int, changes: dict[str, Any], reasons: str, step: str, cancelled: bool
) -> None:
    shop = loss.shop
    product = await shop.product(units=5)
    shop.hooks.after[step] = loss.task(*([loss.cancel] if cancelled else []))
    run = await shop.place((product, quantity), **changes)

    status, reason = await ending(shop, run)

    stock = await shop.stock(product)
    assert (status == "FAILED" and (reason or "") in reasons) or (cancelled and status == "CANCELLED")
    assert (stock.on_hand, stock.reserved) == (5, 0)


@pytest.mark.parametrize("step", ["reserve", "open_payment", "mark_pending"])
async def test_an_order_that_is_refused_a_price_in_its_second_run_gives_all_back(loss: Loss, step: str) -> None:
    shop = loss.shop
    product = await shop.product(price=1_000, units=5)
    database = Database(shop.databases["product"], pool_size=1)

    async def withdraw() -> None:
        async with database.autocommit() as connection:
            await connection.execute("UPDATE products SET active = false WHERE id = %(id)s", id=product)

    shop.hooks.after[step] = loss.task(withdraw)
    run = await shop.place((product, 2), payment_method=VISA)

    assert await ending(shop, run) == ("FAILED", "PRODUCT_INACTIVE")
    assert (await shop.stock(product)).available == 5
    await database.close()


async def test_a_paid_order_whose_workflow_runs_again_stays_paid(loss: Loss) -> None:
    shop = loss.shop
    product = await shop.product(units=5)
    shop.hooks.before["mark_pending"] = shop.deliver_events

    async def go_to_the_end() -> None:
        order_id = (activity.info().workflow_id or "").removeprefix("order-")
        await shop.inventory.commit(order_id)
        await shop.orders.mark(Mark(order_id=order_id, cause_id="order_saga:closed", to_status=OrderStatus.PAID))

    shop.hooks.after["mark_pending"] = loss.task(go_to_the_end)
    run = await shop.place((product, 2), payment_method=VISA)

    assert await ending(shop, run) == ("PAID", None)
    assert (await shop.stock(product)).on_hand == 3


@pytest.mark.parametrize(("refunded", "status"), [(500, "PARTIALLY_REFUNDED"), (2_000, "REFUNDED")])
@pytest.mark.parametrize("step", ["mark_pending", "mark"])
async def test_an_order_refunded_while_its_workflow_runs_again_ends_as_it_is(
    loss: Loss, step: str, refunded: int, status: str
) -> None:
    shop = loss.shop
    product = await shop.product(price=1_000, units=5)
    if step == "mark_pending":
        shop.hooks.before["mark_pending"] = shop.deliver_events

    async def go_to_the_end() -> None:
        order_id = (activity.info().workflow_id or "").removeprefix("order-")
        await shop.inventory.commit(order_id)
        await shop.orders.mark(Mark(order_id=order_id, cause_id="order_saga:closed", to_status=OrderStatus.PAID))
        await shop.apply_refund(order_id, refunded)

    shop.hooks.after[step] = loss.task(go_to_the_end)
    run = await shop.place((product, 2), payment_method=VISA, wait=10 if step == "mark" else 0)
    await shop.deliver_events()

    async with asyncio.timeout(TIMEOUT):
        result = await shop.result(run)

    order = await shop.order(run)
    assert (result.status, result.reason) == (order.status, order.reason) == (status, None)
    assert [t.to_status for t in order.transitions] == ["RECEIVED", "PENDING", "PAID", status]
    assert not {"void_payment", "release"} & set(shop.steps_of(run))
    assert (await shop.stock(product)).on_hand == 3


@pytest.mark.parametrize("step", ["commit", "mark"])
@pytest.mark.parametrize("what", ["signal", "cancel", "crash", "crash-cancel"])
async def test_an_order_paid_as_soon_as_its_payment_was_opened_stays_paid_when_that_task_is_lost(
    loss: Loss, what: str, step: str
) -> None:
    shop = loss.shop
    product = await shop.product(units=5)

    async def fail() -> None:
        raise ConnectionError("away")

    async def signal() -> None:
        handle = shop.env.client.get_workflow_handle(activity.info().workflow_id or "")
        await handle.signal(PAYMENT_CHANGED_SIGNAL, "evt_another")

    shop.hooks.before["open_payment"] = fail
    shop.hooks.after["open_payment"] = shop.deliver_events
    shop.hooks.after[step] = {
        "signal": signal,
        "cancel": loss.cancel,
        "crash": loss.task(),
        "crash-cancel": loss.task(loss.cancel),
    }[what]
    run = await shop.place((product, 2), payment_method=VISA)

    assert await ending(shop, run) == ("PAID", None)
    assert (await shop.stock(product)).on_hand == 3
