"""The watcher on a Temporal server: whatever becomes of an order's workflow, somebody is called and can free it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.concerns import AWAY_STEP, TASK_STEP, UNMOVED_STEP, WORKFLOW_STEP, ConcernKind
from domain.ids import new_id
from domain.orders import OrderStatus
from domain.saga import ORDER_SAGA, OrderInput, order_workflow_id
from runtime.clock import utc_now
from runtime.settings import Settings
from sandbox.ports import address, free_port
from services.order.attention import looks
from services.order.attention.looks import OpenOrders
from services.order.attention.model import WATCHER
from services.order.attention.workflows import WorkflowReader
from services.order.bootstrap import OrderComponents, bootstrap, saga_policy
from tests.support.client import until
from tests.support.identities import tls_settings
from tests.support.order_shop import OrderShop, new_order
from tests.support.recorded_sagas import RecordedSagas
from tests.support.rows import fetch_rows

NOBODYS_QUEUE = "nobody"
"""Where workflows stay as they were started."""
PATIENCE = timedelta(minutes=1)


@workflow.defn(name=ORDER_SAGA)
class BrokenSaga:
    """A workflow under the saga's name whose code has a defect, or whose step fails."""

    @workflow.run
    async def run(self, order: OrderInput) -> None:
        if order.payment_method == "a step fails":
            await workflow.execute_activity(
                "reserve",
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1),
            )
        if order.is_repair:
            raise ApplicationError("it gives up", non_retryable=True)
        raise KeyError("lines")


@activity.defn(name="reserve")
async def reserve() -> None:
    raise ConnectionError("the inventory service: UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Watched:
    """Orders of one shop, on a Temporal server, and the look at those that are open."""

    shop: OrderShop
    client: Client
    look: Callable[[], Awaitable[None]]

    async def concerns(self, *orders: str) -> dict[str, tuple[str, str]]:
        """What a look finds wrong with the orders: step and cause."""
        await self.look()
        found = await self.shop.attention.find_of_subjects(ConcernKind.ORDER, orders)
        return {concern.subject_id: (concern.step, concern.cause) for concern in found}

    async def start(
        self, order_id: str, *, queue: str = NOBODYS_QUEUE, run_timeout: timedelta | None = None, **changes: Any
    ) -> None:
        order = new_order(**{key: value for key, value in changes.items() if key != "is_repair"})
        await self.client.start_workflow(
            ORDER_SAGA,
            order.saga_input(order_id, saga_policy(Settings()), is_repair=changes.get("is_repair", False)),
            id=order_workflow_id(order_id),
            task_queue=queue,
            run_timeout=run_timeout,
        )

    async def delete(self, order_id: str) -> None:
        """Delete the workflow, as a database restored to a point before it would be without it."""
        workflow_id = order_workflow_id(order_id)
        await self.client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=self.client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
            )
        )


@asynccontextmanager
async def watching(shop: OrderShop, client: Client, **settings: Any) -> AsyncIterator[tuple[Watched, OrderComponents]]:
    """The shop's orders, watched by a service of these settings."""
    changed = Settings(temporal_task_queue=NOBODYS_QUEUE, **settings, **tls_settings())
    async with bootstrap(changed, database=shop.database, temporal=client) as components:
        repair = components.desk.repair_by_itself if components.repairs_itself else None

        async def is_processing(_: str) -> bool:
            return False

        look = OpenOrders(
            components.attention,
            WorkflowReader(client),
            is_processing=is_processing,
            repair=repair,
            patience=PATIENCE,
            clock=utc_now,
        ).look

        async def look_at_all() -> None:
            after = await look(None)
            while after is not None:
                after = await look(after)

        yield Watched(shop, client, look_at_all), components


@pytest_asyncio.fixture
async def watched(empty_shop: OrderShop, temporal: Client) -> AsyncIterator[Watched]:
    async with watching(empty_shop, temporal) as (watched, _):
        yield watched


@pytest_asyncio.fixture
async def broken_queue(temporal: Client) -> AsyncIterator[str]:
    """A queue whose worker runs `BrokenSaga`."""
    queue = f"order-tests-{new_id()}"
    runner = UnsandboxedWorkflowRunner()
    async with Worker(temporal, task_queue=queue, workflows=[BrokenSaga], activities=[reserve], workflow_runner=runner):
        yield queue


async def end(watched: Watched, order_id: str, how: str, *, queue: str) -> None:
    """Let the order's workflow end so, or be gone."""
    if how == "gone":
        await watched.start(order_id)
        await watched.delete(order_id)
        return
    if how == "failed":
        await watched.start(order_id, queue=queue, is_repair=True)
    else:
        await watched.start(order_id, run_timeout=timedelta(seconds=1) if how == "timed out" else None)
    handle = watched.client.get_workflow_handle(order_workflow_id(order_id))
    if how == "terminated":
        await handle.terminate(reason="a slip of the hand")
    with pytest.raises(WorkflowFailureError):
        await handle.result()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("gone", "gone"),
        ("terminated", ": a slip of the hand)"),
        ("failed", "(failed: it gives up)"),
        ("timed out", "(timed out)"),
    ],
)
async def test_an_open_order_whose_workflow_is_lost_is_called_for_until_it_is_repaired(
    watched: Watched, broken_queue: str, how: str, words: str
) -> None:
    shop = watched.shop
    order_id, closed, well = await shop.pending(), await shop.pending(), await shop.pending()
    await shop.close(closed, OrderStatus.FAILED)
    await watched.start(well)
    for each in (order_id, closed):
        await end(watched, each, how, queue=broken_queue)

    found = await until(lambda: watched.concerns(order_id, closed, well), lambda found: order_id in found)
    async with watching(shop, watched.client) as (_, components):
        assert await components.desk.repair(order_id, actor="operator:ada", note="a slip of the hand")
    after_repair = await until(lambda: watched.concerns(order_id, closed, well), lambda found: not found)

    assert found.keys() == {order_id}
    step, cause = found[order_id]
    assert (step, words in cause) == (WORKFLOW_STEP, True)
    assert after_repair == {}
    described = await watched.client.get_workflow_handle(order_workflow_id(order_id)).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


async def test_all_of_very_many_orders_without_workflows_are_called_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "BATCH", 10)
    orders = [await watched.shop.pending() for _ in range(35)]
    for each in orders[::2]:
        await watched.start(each)

    found = await until(lambda: watched.concerns(*orders), lambda found: len(found) <= len(orders[1::2]))

    assert found.keys() == set(orders[1::2])


async def test_by_a_setting_a_lost_saga_is_started_again_and_that_is_kept(
    empty_shop: OrderShop, temporal: Client
) -> None:
    order_id = await empty_shop.pending()

    async with watching(empty_shop, temporal, repair_automatically=True) as (watched, components):
        found = await watched.concerns(order_id)
        [action] = await components.attention.find_actions(order_id)

    assert found == {}
    assert (action.actor, action.action) == (WATCHER, "repair")
    described = await temporal.get_workflow_handle(order_workflow_id(order_id)).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


async def test_a_defect_in_the_workflows_code_is_called_for_with_what_it_says(
    watched: Watched, broken_queue: str
) -> None:
    order_id = await watched.shop.pending()
    await watched.start(order_id, queue=broken_queue)

    found = await until(lambda: watched.concerns(order_id), lambda found: order_id in found)

    step, cause = found[order_id]
    assert (step, "lines" in cause) == (TASK_STEP, True)


async def test_a_step_that_its_saga_called_for_has_its_attempts_and_last_error(
    watched: Watched, broken_queue: str
) -> None:
    order_id = await watched.shop.pending()
    await watched.start(order_id, queue=broken_queue, payment_method="a step fails")
    await watched.shop.attention.raise_for_step(
        kind=ConcernKind.ORDER, subject_id=order_id, order_id=order_id, step="reserve", cause="has failed for 60 s"
    )

    async def attempts() -> tuple[int, str]:
        await watched.look()
        [concern] = await watched.shop.attention.find_of_subject(order_id)
        return concern.attempts, concern.cause

    tried, cause = await until(attempts, lambda found: found[0] > 1)

    assert tried > 1
    assert cause == "fails: the inventory service: UNAVAILABLE"


async def stand(shop: OrderShop, orders: Sequence[str], span: timedelta) -> None:
    """Let orders have stood where they are for so long, by PostgreSQL's clock."""
    async with shop.database.autocommit() as connection:
        await connection.execute(
            "UPDATE orders SET moved_at = now() - %(span)s WHERE id = ANY(%(orders)s::uuid[])",
            span=span,
            orders=list(orders),
        )


async def test_an_order_that_nobody_moves_is_called_for_and_one_that_waits_for_its_customer_is_not(
    watched: Watched,
) -> None:
    received, overdue, waiting = (
        await watched.shop.received(),
        await watched.shop.pending(),
        await watched.shop.pending(),
    )
    for each in (received, overdue, waiting):
        await watched.start(each)
    await stand(watched.shop, [received, waiting], PATIENCE * 2)
    await stand(watched.shop, [overdue], timedelta(seconds=900) + PATIENCE * 2)

    found = await until(lambda: watched.concerns(received, overdue, waiting), lambda found: waiting not in found)

    assert {order_id: step for order_id, (step, _) in found.items()} == {received: TASK_STEP, overdue: TASK_STEP}
    assert all("no order worker" in cause for _, cause in found.values())


async def test_the_page_of_an_order_says_why_its_workflow_does_not_go_on(watched: Watched) -> None:
    waits, ended = await watched.shop.pending(), await watched.shop.pending()
    await watched.start(waits)
    await end(watched, ended, "terminated", queue=NOBODYS_QUEUE)

    async with watching(watched.shop, watched.client) as (_, components):
        said = {each: await problem_of(components, each) for each in (waits, ended)}

    assert said[waits].startswith("waits for an order worker since ")
    assert said[ended].startswith("terminated by ")
    assert said[ended].endswith(": a slip of the hand")


async def problem_of(components: OrderComponents, order_id: str) -> str:
    """What the order's page says of its workflow."""
    record = await components.on_call.describe_order(order_id)
    assert record is not None
    [section] = [each for each in record.sections if each.title == "workflow"]
    return str(dict(zip(section.columns, section.rows[0], strict=True))["problem"])


async def test_late_orders_are_called_for_while_temporal_is_away(empty_shop: OrderShop) -> None:
    order_id = await empty_shop.received()
    await stand(empty_shop, [order_id], PATIENCE * 2)
    nowhere = await Client.connect(address(free_port()), lazy=True)

    async with watching(empty_shop, nowhere) as (watched, _):
        found = await watched.concerns(order_id)

    assert found[order_id][0] == UNMOVED_STEP


async def test_that_no_order_worker_asks_for_work_is_called_for(shop: OrderShop, temporal: Client) -> None:
    changed = Settings(temporal_task_queue=f"queue-{new_id()}", attention_after=0.1, **tls_settings())
    async with bootstrap(changed, database=shop.database, temporal=temporal, sagas=RecordedSagas()) as components:
        parts = components.looks["parts"]

        async def away() -> set[str]:
            await parts.look(None)
            found = await components.attention.find_of_subject("order-worker")
            return {concern.step for concern in found}

        assert await until(away, lambda steps: steps != set()) == {AWAY_STEP}
        async with Worker(
            temporal,
            task_queue=changed.temporal_task_queue,
            workflows=[BrokenSaga],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            assert await until(away, lambda steps: steps == set()) == set()


async def test_every_look_is_due_again_after_it_was_done(shop: OrderShop, temporal: Client) -> None:
    async with watching(shop, temporal, watch_interval=3_600) as (_, components):
        async with shop.database.autocommit() as connection:
            await connection.execute("UPDATE looks SET next_attempt_at = now(), attempts = 0")
        assert await components.watcher.process_due() >= len(components.looks)
        rows = await fetch_rows(shop.database, "SELECT name, next_attempt_at > now() AS is_done FROM looks")
        [(order_error,)] = await fetch_rows(shop.database, "SELECT last_error FROM looks WHERE name = 'orders'")

    assert sorted(rows) == [(name, True) for name in sorted(components.looks)]
    assert order_error is None
