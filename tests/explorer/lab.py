"""Runs cases on a time-skipping server of its own, many at a time.

**One clock for all.** The server's clock belongs to every workflow on it, and is skipped forward only while none of
them has a task or an activity under way. So it is left unlocked for as long as a batch runs, and everything that
happens in a case is done from within one of its steps or workflow tasks: there the clock stands still, and nothing
depends on how fast this process or the server is. Nothing waits in real time, except the few cases in which a step
takes too long: while one of those does, nobody's time is skipped, so they run in a batch of their own.

**A server whose time stands still.** `tests.explorer.clock` says why. When nothing happens at all for `SILENCE` seconds
of real time, a lock is given back on suspicion. When nothing happens for `PATIENCE` seconds, the server is replaced.
Those cases that were under way are run again, each alone; only one that does not end there either is a breach.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.saga import (
    ORDER_ATTENTION_ATTRIBUTE,
    ORDER_SAGA,
    ORDER_STATUS_ATTRIBUTE,
    ORDER_TOTAL_ATTRIBUTE,
    OrderResult,
)
from tests.doubles.shop import DoubledShop
from tests.explorer import clock
from tests.explorer.case import Case, Seen
from tests.explorer.oracle import breaches_at_the_end
from tests.explorer.schedule import Schedule
from tests.explorer.steps import Steps
from tests.explorer.surroundings import quiet, runtime, time_limits
from tests.explorer.watched_runner import WatchedRunner
from workflows.order_saga import OrderSaga

TASK_QUEUE: Final = "explorer"
AT_ONCE: Final = 40
"""Cases side by side: more only fill the queues of the one event loop."""
SILENCE: Final = 6
"""Real seconds in which nothing happens, longer than anything that a step or a lost task can take."""
PATIENCE: Final = 20
"""Real seconds in which nothing happens at all, until the server is given up."""
LONGEST: Final = timedelta(days=2)
"""Of the server's time, for an order whose customer has 15 minutes."""
TASK_TIMEOUT: Final = timedelta(seconds=2)
"""Real time that a workflow task of which nobody hears any more costs everybody."""
TIMEOUT: Final = 1.0
"""Real seconds that stand for every time limit of a step in a batch of slow ones."""

_ATTRIBUTES: Final = {
    ORDER_STATUS_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_ATTENTION_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_TOTAL_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case."""

    schedule: Schedule
    fingerprint: str
    trace: Sequence[str]
    seen: Sequence[Seen]
    breaches: Sequence[str]


class Lab:
    """Runs cases, each batch on a new server.

    Args:
        saga: the workflow class.
        make_shop: makes the doubles of a case.
    """

    def __init__(self, *, saga: type = OrderSaga, make_shop: Callable[..., DoubledShop] = DoubledShop) -> None:
        self.restarts = 0
        """How often a case had to be run again, because it or its server hung."""
        self.suspicions = 0
        """How often a lock was given back on suspicion."""
        self._saga = saga
        self._make_shop = make_shop

    async def run(self, schedules: Sequence[Schedule], *, slow: bool = False) -> list[Outcome]:
        """Run the cases; what became of each, in their order. `slow` ones may have steps that take too long."""
        outcomes: dict[Schedule, Outcome] = {}
        left = list(schedules)
        while left:
            suspects = await self._run_batch(left, outcomes, slow=slow)
            for schedule in suspects:
                self.restarts += 1
                await self._run_batch([schedule], outcomes, slow=slow)
                outcomes.setdefault(schedule, Outcome(schedule, "", (), (), ["does not end"]))
            left = [schedule for schedule in left if schedule not in outcomes]
        return [outcomes[schedule] for schedule in schedules]

    async def _run_batch(
        self, schedules: Sequence[Schedule], outcomes: dict[Schedule, Outcome], *, slow: bool
    ) -> list[Schedule]:
        """Run cases until all have ended or none does any more; those that were under way then."""
        places = asyncio.Semaphore(AT_ONCE)
        cases: dict[str, Case] = {}
        async with _serve(self._saga, cases, slow=slow) as client:

            async def run(schedule: Schedule) -> None:
                async with places:
                    case = Case(schedule, client)
                    case.shop = self._make_shop(meanwhile=case.meanwhile)
                    cases[case.workflow_id] = case
                    outcomes[schedule] = await _run_case(case)
                    del cases[case.workflow_id]

            pending = {asyncio.create_task(run(schedule)) for schedule in schedules}
            silence, happened = 0, -1
            while pending and silence < PATIENCE:
                ended, pending = await asyncio.wait(pending, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
                before, happened = happened, sum(len(case.seen) for case in cases.values())
                silence = 0 if ended or happened != before else silence + 1
                if silence == SILENCE:
                    self.suspicions += 1
                    await clock.give_back_a_lock(client)
            suspects = [case.schedule for case in cases.values()]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return suspects


async def _run_case(case: Case) -> Outcome:
    handle = await case.client.start_workflow(
        ORDER_SAGA,
        case.order(),
        id=case.workflow_id,
        task_queue=TASK_QUEUE,
        result_type=OrderResult,
        task_timeout=TASK_TIMEOUT,
    )
    result: OrderResult | None = None
    try:
        result = await handle.result()
    except WorkflowFailureError as error:
        if not isinstance(error.cause, CancelledError):
            case.breaches.append(f"the workflow failed: {error.cause}")
    case.breaches.extend(await _breaches_of_the_answer(case))
    case.breaches.extend(await breaches_at_the_end(case, result=result))
    if case.took > LONGEST:
        case.breaches.append(f"took {case.took} of the server's time")
    case.trace.append(f"ends {result and result.status}")
    return Outcome(case.schedule, case.fingerprint, case.trace, case.seen, case.breaches)


async def _breaches_of_the_answer(case: Case) -> list[str]:
    """Whoever asks the saga to cancel is told how the order ended."""
    try:
        answer = await case.wish.read_answer()
    except TimeoutError:
        return ["the wish to cancel was never answered"]
    order = case.shop.orders.orders[case.order_id]
    if answer is None or (answer.status, answer.reason) == (order.status, order.reason):
        return []
    return [f"the wish was answered {answer.status} {answer.reason}, the order {order.status} {order.reason}"]


@asynccontextmanager
async def _serve(saga: type, cases: dict[str, Case], *, slow: bool) -> AsyncIterator[Client]:
    """A server whose time is skipped, and a worker."""
    server = shutil.which("temporal-test-server", path=str(Path(sys.executable).parent))
    async with AsyncExitStack() as stack:
        stack.enter_context(quiet())
        env = await stack.enter_async_context(
            await WorkflowEnvironment.start_time_skipping(test_server_existing_path=server, runtime=runtime())
        )
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=env.client.namespace, search_attributes=_ATTRIBUTES)
        )
        # Not the environment's own client, which locks and unlocks the clock around each result that it waits for.
        client = Client(env.client.service_client, namespace=env.client.namespace)
        steps = Steps(cases, timeout=TIMEOUT * 1.5)
        if slow:
            stack.enter_context(time_limits(TIMEOUT))
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[saga],
            activities=steps.activities(),
            workflow_runner=WatchedRunner(cases),
            max_cached_workflows=2 * AT_ONCE,
            max_concurrent_workflow_tasks=AT_ONCE,
            max_concurrent_activities=2 * AT_ONCE,
            max_concurrent_local_activities=2 * AT_ONCE,
        )
        await stack.enter_async_context(worker)
        await clock.start(client)
        yield client
