"""The workflows that the payment service starts and notifies, at a Temporal whose workers only count signals."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.ids import new_id
from domain.saga import (
    DISPUTE_CASE,
    DISPUTE_CHANGED_SIGNAL,
    ORDER_SAGA,
    REFUND_CHANGED_SIGNAL,
    REFUND_SAGA,
    DisputeInput,
    RefundInput,
    dispute_workflow_id,
    order_workflow_id,
    refund_workflow_id,
)
from runtime.refusal import Unavailable
from runtime.temporal import TemporalAway
from services.payment.sagas import SagaMissing, TemporalSagas

QUEUE = "sagas"
ORDER = new_id()


class Counting:
    """Counts its signals until it is to end."""

    def __init__(self) -> None:
        self.signals = 0
        self.is_over = False

    async def _wait(self) -> int:
        await workflow.wait_condition(lambda: self.is_over)
        return self.signals


@workflow.defn(name=REFUND_SAGA)
class CountingRefundSaga(Counting):
    """In the place of the refund's saga."""

    @workflow.run
    async def run(self, refund: RefundInput) -> int:
        return await self._wait()

    @workflow.signal(name=REFUND_CHANGED_SIGNAL)
    def changed(self) -> None:
        self.signals += 1

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def notified(self) -> int:
        return self.signals


@workflow.defn(name=DISPUTE_CASE)
class CountingDisputeCase(Counting):
    """In the place of the dispute's case."""

    @workflow.run
    async def run(self, dispute: DisputeInput) -> int:
        return await self._wait()

    @workflow.signal(name=DISPUTE_CHANGED_SIGNAL)
    def changed(self) -> None:
        self.signals += 1

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def notified(self) -> int:
        return self.signals


Ensure = Callable[[TemporalSagas, str, bool], Awaitable[None]]


async def ensure_refund_saga(sagas: TemporalSagas, subject: str, changed: bool) -> None:
    await sagas.ensure_refund_saga(refund_id=subject, order_id=ORDER, changed=changed)


async def ensure_dispute_case(sagas: TemporalSagas, subject: str, changed: bool) -> None:
    await sagas.ensure_dispute_case(dispute_id=subject, order_id=ORDER, changed=changed)


KINDS: dict[str, tuple[Ensure, Callable[[str], str]]] = {
    "refund": (ensure_refund_saga, refund_workflow_id),
    "dispute": (ensure_dispute_case, dispute_workflow_id),
}


@pytest_asyncio.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    """Of a time-skipping server with a worker."""
    server = shutil.which("temporal-test-server", path=str(Path(sys.executable).parent))
    async with await WorkflowEnvironment.start_time_skipping(test_server_existing_path=server) as environment:
        worker = Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[CountingRefundSaga, CountingDisputeCase],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            yield environment.client


class StoredOrders:
    """In the place of the order service; see `services.payment.orders.Orders`.

    Attributes:
        open: ids of the orders that are open.
        asked: ids of those that were asked for, in turn.
        is_away: whether it answers nobody.
    """

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.asked: list[str] = []
        self.is_away = False

    async def report_missing_saga(self, order_id: str) -> bool:
        if self.is_away:
            raise Unavailable("the order service: UNAVAILABLE")
        self.asked.append(order_id)
        return order_id in self.open


@pytest.fixture
def orders() -> StoredOrders:
    return StoredOrders()


@pytest.fixture
def sagas(client: Client, orders: StoredOrders) -> TemporalSagas:
    return TemporalSagas(client, task_queue=QUEUE, attention_after=60, orders=orders)


async def events_of(client: Client, workflow_id: str) -> int:
    """How many events its newest run has; it waits, so there are no more to come."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return len(history.events)


async def end(client: Client, workflow_id: str) -> int:
    """End a workflow; how often it was notified."""
    handle = client.get_workflow_handle(workflow_id, result_type=int)
    await handle.signal("end")
    notified: int = await handle.result()
    return notified


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_starts_a_workflow_and_notifies_it(client: Client, sagas: TemporalSagas, kind: str) -> None:
    ensure, workflow_id = KINDS[kind]
    subject = new_id()

    await ensure(sagas, subject, True)

    description = await client.get_workflow_handle(workflow_id(subject)).describe()
    assert (description.status, description.task_queue) == (WorkflowExecutionStatus.RUNNING, QUEUE)
    assert await end(client, workflow_id(subject)) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_notifies_a_workflow_that_runs_and_starts_no_other(
    client: Client, sagas: TemporalSagas, kind: str
) -> None:
    ensure, workflow_id = KINDS[kind]
    subject = new_id()
    await ensure(sagas, subject, True)
    first = (await client.get_workflow_handle(workflow_id(subject)).describe()).run_id

    await ensure(sagas, subject, True)
    await asyncio.gather(*(ensure(sagas, subject, True) for _ in range(5)))

    assert (await client.get_workflow_handle(workflow_id(subject)).describe()).run_id == first
    assert await end(client, workflow_id(subject)) == 7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", [True, False])
async def test_one_that_has_closed_is_started_again(
    client: Client, sagas: TemporalSagas, kind: str, changed: bool
) -> None:
    ensure, workflow_id = KINDS[kind]
    subject = new_id()
    await ensure(sagas, subject, True)
    first = (await client.get_workflow_handle(workflow_id(subject)).describe()).run_id
    await end(client, workflow_id(subject))

    await ensure(sagas, subject, changed)

    again = await client.get_workflow_handle(workflow_id(subject)).describe()
    assert (again.status, again.run_id == first) == (WorkflowExecutionStatus.RUNNING, False)
    assert await end(client, workflow_id(subject)) == (1 if changed else 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_change_a_workflow_is_started_once_and_one_that_runs_gets_no_event(
    client: Client, sagas: TemporalSagas, kind: str
) -> None:
    ensure, workflow_id = KINDS[kind]
    subject = new_id()
    await asyncio.gather(*(ensure(sagas, subject, False) for _ in range(5)))
    handle = client.get_workflow_handle(workflow_id(subject))
    assert await handle.query("notified") == 0  # it is answered once its first task is done
    before, run_id = await events_of(client, workflow_id(subject)), (await handle.describe()).run_id

    for _ in range(3):
        await ensure(sagas, subject, False)

    assert (await events_of(client, workflow_id(subject)), (await handle.describe()).run_id) == (before, run_id)
    assert await end(client, workflow_id(subject)) == 0


async def test_a_signal_for_a_closed_order_which_has_no_workflow_decides_nothing(
    sagas: TemporalSagas, orders: StoredOrders
) -> None:
    order_id = new_id()

    await sagas.notify_order(order_id=order_id, event_id="evt_1")

    assert orders.asked == [order_id]


async def test_a_signal_for_an_open_order_that_has_lost_its_workflow_is_not_given(
    sagas: TemporalSagas, orders: StoredOrders
) -> None:
    order_id = new_id()
    orders.open.add(order_id)

    with pytest.raises(SagaMissing, match=f"ordersaga repair {order_id}"):
        await sagas.notify_order(order_id=order_id, event_id="evt_1")


async def test_whether_an_order_without_a_workflow_is_open_is_asked_again_while_the_order_service_is_away(
    sagas: TemporalSagas, orders: StoredOrders
) -> None:
    orders.is_away = True

    with pytest.raises(Unavailable, match="the order service"):
        await sagas.notify_order(order_id=new_id(), event_id="evt_1")


async def test_an_order_whose_workflow_takes_the_signal_is_not_asked_for(
    client: Client, sagas: TemporalSagas, orders: StoredOrders
) -> None:
    order_id = new_id()
    await client.start_workflow(ORDER_SAGA, id=order_workflow_id(order_id), task_queue="nobody's")

    await sagas.notify_order(order_id=order_id, event_id="evt_1")

    assert orders.asked == []


async def test_a_temporal_that_does_not_answer_is_away() -> None:
    client = await Client.connect("127.0.0.1:1", lazy=True)
    sagas = TemporalSagas(client, task_queue=QUEUE, attention_after=60, orders=StoredOrders())

    with pytest.raises(TemporalAway):
        await sagas.notify_order(order_id=new_id(), event_id="evt_1")
    for ensure, _ in KINDS.values():
        for changed in (True, False):
            with pytest.raises(TemporalAway):
                await ensure(sagas, new_id(), changed)
