"""Runs cases on a time-skipping server of its own, many at a time, each in an installation of its own.

**One clock for all.** The server's clock belongs to every workflow on it, and is skipped forward only while none of
them has a task or an activity under way. So it is left unlocked for as long as a batch runs, and everything that
happens in a case is done from within one of its steps or workflow tasks: there the clock stands still, and nothing
depends on how fast this process or the server is. What happens when nothing of a case is under way any more (point
``end``) depends on no clock.

**A server whose time stands still.** `time_skipping` says why. When no case comes to any point for `SILENCE` seconds of
real time, a lock is released on suspicion. When none ends for `LONGEST` seconds, the server is replaced. Those cases
that were under way are run again, each alone; only one that does not end there either is a breach.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.saga import (
    CUSTOMER_ID_ATTRIBUTE,
    ORDER_ATTENTION_ATTRIBUTE,
    ORDER_STATUS_ATTRIBUTE,
    ORDER_TOTAL_ATTRIBUTE,
    payment_queue,
)
from tests.saga.simulator import run, time_skipping
from tests.saga.simulator.beginnings import BEGINNINGS
from tests.saga.simulator.case import Case, Outcome
from tests.saga.simulator.environment import quiet, runtime, without_limits
from tests.saga.simulator.installation import SERVICES, TASK_QUEUE
from tests.saga.simulator.schedule import Schedule
from tests.saga.simulator.slot import Slot, open_slot
from tests.saga.simulator.steps import Steps
from tests.saga.simulator.watched_worker import watch
from tests.support.busy_machine import slowdown
from tests.support.shared_postgres import PostgresServer
from workers.queues import ASKING_STRIPE
from workflows.activity_calls import step_name
from workflows.dispute_case import DisputeCase
from workflows.order_saga import OrderSaga
from workflows.refund_saga import RefundSaga

SLOTS: Final = 5
"""Cases side by side: enough to fill the one event loop, and each has its databases to be made."""
WORKFLOWS: Final = 6
"""Of one case at most, for which the worker must have room: a step may wait for another workflow's turn."""
SILENCE: Final = 12
"""Real seconds in which no case comes to any point, until a lock of the clock is released; on a busy machine more."""
LONGEST: Final = 120
"""Real seconds in which no case ends, until the server is given up; on a busy machine more."""

_ATTRIBUTES: Final = {
    ORDER_STATUS_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    CUSTOMER_ID_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_ATTENTION_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_TOTAL_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflows:
    """The workflow classes that are run."""

    order: type = OrderSaga
    refund: type = RefundSaga
    dispute: type = DisputeCase


REAL_WORKFLOWS: Final = Workflows()


@dataclass(slots=True, eq=False)
class Simulator:
    """Runs cases, each batch on a new Temporal server.

    Attributes:
        postgres: has the databases.
        suffix: of the names of this process's databases.
        troubles: how often a case had to be run again, because it or its server hung; a lock of the clock was released
            on suspicion; a count of turns was wrong.
    """

    postgres: PostgresServer
    suffix: str
    slots: int = SLOTS
    troubles: Counter[str] = field(default_factory=Counter)
    _dsns: list[Mapping[str, str]] = field(default_factory=list)

    async def run(
        self,
        schedules: Sequence[Schedule],
        *,
        workflows: Workflows = REAL_WORKFLOWS,
        mutation: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> list[Outcome]:
        """Run the cases; what became of each, in their order.

        Args:
            schedules: the cases.
            workflows: in place of the real ones.
            mutation: what breaks the services while they run.
        """
        outcomes: dict[Schedule, Outcome] = {}
        left = list(dict.fromkeys(schedules))
        with quiet(), without_limits(), mutation():
            while left:
                suspects = await self._run_batch(left, outcomes, workflows)
                for schedule in suspects:
                    self.troubles["run again"] += 1
                    await self._run_batch([schedule], outcomes, workflows)
                    outcomes.setdefault(schedule, Outcome(schedule, "", (), (), ["does not end"]))
                left = [schedule for schedule in left if schedule not in outcomes]
        self.troubles["turns miscounted"] += sum(outcome.stalls for outcome in outcomes.values())
        return [outcomes[schedule] for schedule in schedules]

    async def _run_batch(
        self, schedules: Sequence[Schedule], outcomes: dict[Schedule, Outcome], workflows: Workflows
    ) -> list[Schedule]:
        """Run cases until all have ended or none does any more; those that were under way then."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(_serve())
            free: asyncio.Queue[Slot] = asyncio.Queue()
            for dsns in self._databases(min(self.slots, len(schedules))):
                free.put_nowait(await stack.enter_async_context(open_slot(dsns, client)))
            cases = _Cases()
            await stack.enter_async_context(_work(client, cases, workflows, free))
            await time_skipping.start(client)

            async def run_in_slot(schedule: Schedule) -> None:
                slot = await free.get()
                case = _make_case(schedule, slot)
                cases.add(case)
                outcomes[schedule] = await run.run_case(case)
                cases.remove(case)
                await slot.empty()
                free.put_nowait(slot)

            pending = {asyncio.create_task(run_in_slot(schedule)) for schedule in schedules}
            silence = since_an_end = points = 0
            while pending and since_an_end < LONGEST * slowdown():
                ended, pending = await asyncio.wait(pending, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
                before, points = points, sum(len(case.seen) for case in cases.under_way)
                since_an_end = 0 if ended else since_an_end + 1
                silence = 0 if ended or points != before else silence + 1
                if silence >= SILENCE * slowdown():
                    silence = 0
                    self.troubles["clock pushed"] += 1
                    await time_skipping.release_lock(client)
            suspects = [case.schedule for case in cases.under_way]
            for task in [*pending, *(run.result for case in cases.under_way for run in case.runs.values())]:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return suspects

    def _databases(self, number: int) -> Sequence[Mapping[str, str]]:
        while len(self._dsns) < number:
            suffix = f"simulator_{self.suffix}_{len(self._dsns)}"
            self._dsns.append(self.postgres.copy_databases(suffix, SERVICES))
        return self._dsns[:number]


class _Cases(dict[str, Case]):
    """The cases under way, by the ids of their workflows."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[Case] = []

    def add(self, case: Case) -> None:
        """It begins."""
        self.under_way.append(case)
        case.register = self.__setitem__
        case.slot.calls.workflows = case

    def remove(self, case: Case) -> None:
        """It has ended."""
        self.under_way.remove(case)
        for flow in case.turns.flows:
            del self[flow.workflow_id]


def _make_case(schedule: Schedule, slot: Slot) -> Case:
    return Case(schedule, slot, BEGINNINGS[schedule.beginning])


@asynccontextmanager
async def _serve() -> AsyncIterator[Client]:
    """A Temporal server whose time is skipped."""
    server = shutil.which("temporal-test-server", path=str(Path(sys.executable).parent))
    starting = WorkflowEnvironment.start_time_skipping(test_server_existing_path=server, runtime=runtime())
    async with await starting as env:
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=env.client.namespace, search_attributes=_ATTRIBUTES)
        )
        # Not the environment's own client, which locks and unlocks the clock around each result that it waits for.
        yield Client(env.client.service_client, namespace=env.client.namespace)


@asynccontextmanager
async def _work(
    client: Client, cases: Mapping[str, Case], workflows: Workflows, slots: asyncio.Queue[Slot]
) -> AsyncIterator[None]:
    """A worker."""
    any_slot = slots.get_nowait()
    slots.put_nowait(any_slot)
    room = WORKFLOWS * SLOTS
    steps = Steps(client, cases).activities(any_slot.installation.steps)
    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[workflows.order, workflows.refund, workflows.dispute],
        activities=steps,
        workflow_runner=UnsandboxedWorkflowRunner(),  # the sandbox costs more than all the rest
        max_cached_workflows=room,
        max_concurrent_workflow_tasks=room,
        max_concurrent_activities=room,
        max_concurrent_local_activities=room,
        graceful_shutdown_timeout=timedelta(),
        debug_mode=True,  # a busy machine is no deadlock
    )
    watch(worker, client, cases)
    payments = Worker(
        client,
        task_queue=payment_queue(TASK_QUEUE),
        activities=[step for step in steps if step_name(step) in ASKING_STRIPE],
        max_concurrent_activities=room,
        graceful_shutdown_timeout=timedelta(),
        debug_mode=True,
    )
    async with worker, payments:
        yield
