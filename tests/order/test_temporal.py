"""The order service and a Temporal server: sagas are started once, and those that were ended from outside are found."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.ids import new_id
from domain.orders import CancelledBy
from domain.saga import (
    CANCEL_UPDATE,
    ORDER_SAGA,
    PAYMENT_CHANGED_SIGNAL,
    CancelRequest,
    OrderInput,
    order_workflow_id,
)
from runtime.settings import Settings
from runtime.temporal import TemporalAway, TemporalRefused
from services.order.bootstrap import saga_policy
from services.order.sagas import TemporalSagas
from tests.support.order_shop import new_order

NOBODYS_QUEUE = "nobody"
"""Where workflows stay as they were started."""
OPEN_ATTENTION = "SELECT step, cause FROM concerns WHERE order_id = %(id)s AND cleared_at IS NULL"


@workflow.defn(name=ORDER_SAGA)
class Saga:
    """A workflow under the saga's name that ends at once: well, or because of a defect."""

    @workflow.run
    async def run(self, order: OrderInput) -> None:
        if order.is_repair:
            raise ApplicationError("a defect", non_retryable=True)


@workflow.defn(name=ORDER_SAGA)
class ClosingSaga:
    """A workflow under the saga's name that closes in the task in which it is asked to cancel the order."""

    def __init__(self) -> None:
        self._is_cancelled = False

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, request: CancelRequest) -> None:
        self._is_cancelled = True

    @workflow.signal(name=PAYMENT_CHANGED_SIGNAL)
    def payment_changed(self, event_id: str) -> None:
        """One that comes during the task keeps it from closing the workflow: Temporal fails the task."""

    @workflow.run
    async def run(self, order: OrderInput) -> None:
        await workflow.wait_condition(lambda: self._is_cancelled)
        await workflow.execute_local_activity("close", start_to_close_timeout=timedelta(seconds=4))


def saga_input(order_id: str, *, is_repair: bool = False) -> OrderInput:
    return new_order().saga_input(order_id, saga_policy(Settings()), is_repair=is_repair)


def handle(client: Client, order_id: str) -> WorkflowHandle[object, object]:
    return client.get_workflow_handle(order_workflow_id(order_id))


async def status_of(client: Client, order_id: str) -> WorkflowExecutionStatus | None:
    return (await handle(client, order_id).describe()).status


@pytest.fixture
def sagas(temporal: Client) -> TemporalSagas:
    return TemporalSagas(temporal, task_queue=NOBODYS_QUEUE)


@pytest_asyncio.fixture
async def working_queue(temporal: Client) -> AsyncIterator[str]:
    """A queue whose worker runs `Saga`."""
    queue = f"order-tests-{new_id()}"
    async with Worker(temporal, task_queue=queue, workflows=[Saga], workflow_runner=UnsandboxedWorkflowRunner()):
        yield queue


@pytest.fixture
def hung_server() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_a_saga_that_runs_is_not_started_again(temporal: Client, sagas: TemporalSagas) -> None:
    order_id = new_id()

    await sagas.start(saga_input(order_id))
    run_id = (await handle(temporal, order_id).describe()).run_id
    await sagas.start(saga_input(order_id))

    assert (await handle(temporal, order_id).describe()).run_id == run_id


async def test_a_saga_that_was_ended_from_outside_is_started_again_by_a_repair_alone(
    temporal: Client, sagas: TemporalSagas
) -> None:
    order_id = new_id()
    await sagas.start(saga_input(order_id))
    await handle(temporal, order_id).terminate()

    await sagas.start(saga_input(order_id))
    assert await status_of(temporal, order_id) is WorkflowExecutionStatus.TERMINATED

    assert await sagas.restart(saga_input(order_id), is_open=False)
    assert await status_of(temporal, order_id) is WorkflowExecutionStatus.RUNNING
    assert not await sagas.restart(saga_input(order_id), is_open=False)


async def test_a_saga_that_ended_by_itself_is_not_started_again(temporal: Client, working_queue: str) -> None:
    sagas, order_id = TemporalSagas(temporal, task_queue=working_queue), new_id()
    await sagas.start(saga_input(order_id))
    await handle(temporal, order_id).result()

    await sagas.start(saga_input(order_id))

    assert not await sagas.restart(saga_input(order_id), is_open=False)
    assert await status_of(temporal, order_id) is WorkflowExecutionStatus.COMPLETED


async def test_a_saga_that_ended_by_itself_is_started_again_if_its_order_is_open_all_the_same(
    temporal: Client, working_queue: str
) -> None:
    sagas, order_id = TemporalSagas(temporal, task_queue=working_queue), new_id()
    await sagas.start(saga_input(order_id))
    await handle(temporal, order_id).result()

    assert await sagas.restart(saga_input(order_id), is_open=True)


async def test_a_saga_that_is_not_there_refuses_alone(sagas: TemporalSagas) -> None:
    with pytest.raises(TemporalRefused) as refused:
        await sagas.cancel(new_id(), CancelledBy.ADMIN)

    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_request_to_cancel_that_is_lost_with_its_workflow_task_is_made_again(temporal: Client) -> None:
    queue, order_id = f"order-tests-{new_id()}", new_id()
    sagas, closings = TemporalSagas(temporal, task_queue=queue), 0

    @activity.defn(name="close")
    async def close() -> None:
        nonlocal closings
        closings += 1
        if closings == 1:
            await handle(temporal, order_id).signal(PAYMENT_CHANGED_SIGNAL, "evt_1")

    runner = UnsandboxedWorkflowRunner()
    async with Worker(temporal, task_queue=queue, workflows=[ClosingSaga], activities=[close], workflow_runner=runner):
        await sagas.start(saga_input(order_id))
        await sagas.cancel(order_id, CancelledBy.ADMIN)
        await handle(temporal, order_id).result()

    assert closings == 2  # the first request got as far, and was lost


async def test_a_temporal_that_hangs_does_not_hold_up_the_answer(hung_server: str) -> None:
    sagas = TemporalSagas(await Client.connect(hung_server, lazy=True), task_queue=NOBODYS_QUEUE)

    async with asyncio.timeout(4):
        with pytest.raises(TemporalAway):
            await sagas.start(saga_input(new_id()))
