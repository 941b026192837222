"""Runs cases of refunds on a time-skipping server, many at a time.

As in `tests.explorer.lab` one clock is for all of them, and everything that happens in a case is done from within one
of its steps, where the clock stands still. What happens when nothing of a case is under way any more (point `end`)
depends on no clock. A batch whose server hangs is run on by a new one, each case that was under way alone.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.testservice.v1 import SleepRequest, UnlockTimeSkippingRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.saga import ORDER_ATTENTION_ATTRIBUTE, ORDER_STATUS_ATTRIBUTE, ORDER_TOTAL_ATTRIBUTE, RefundResult
from tests.doubles.shop import DoubledShop
from tests.doubles.stripe import Refund
from tests.explorer import refund_oracle
from tests.explorer.refund_case import TASK_QUEUE, Case, Seen
from tests.explorer.refund_gate import Flow
from tests.explorer.refund_runner import CountingRunner
from tests.explorer.refund_shapes import SHAPES
from tests.explorer.refund_steps import RefundStepsOfCases, away
from tests.explorer.schedule import Schedule
from tests.explorer.surroundings import quiet, runtime, time_limits
from workflows.dispute_case import DisputeCase
from workflows.refund_saga import RefundSaga

AT_ONCE: Final = 25
"""Cases side by side."""
WORKFLOWS: Final = 6
"""Of one case at most, for which the worker must have room: a step may wait for another workflow's turn."""
PATIENCE: Final = 20.0
"""Real seconds in which one case at least has to end."""
A_WHILE: Final = 1.5
TIMEOUT: Final = 1.0
"""Real seconds that stand for every time limit of a step in a batch of slow ones."""
ROUNDS: Final = 8
"""How often a case may come to its end and go on: more only if it never ends."""

_ATTRIBUTES: Final = {
    ORDER_STATUS_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_ATTENTION_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    ORDER_TOTAL_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}
_keys = count(1)


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
        saga: the workflow class of refunds.
        dispute: the workflow class of disputes.
        make_shop: makes the doubles of a case.
    """

    def __init__(
        self,
        *,
        saga: type = RefundSaga,
        dispute: type = DisputeCase,
        make_shop: Callable[..., DoubledShop] = DoubledShop,
    ) -> None:
        self.restarts = 0
        """How often a case had to be run again, because it or its server hung."""
        self._workflows = [saga, dispute]
        self._make_shop = make_shop

    async def run(self, schedules: Sequence[Schedule], *, slow: bool = False) -> list[Outcome]:
        """Run the cases; what became of each, in their order. `slow` ones may have steps that take too long."""
        outcomes: dict[Schedule, Outcome] = {}
        left = list(schedules)
        while left:
            for schedule in await self._run_batch(left, outcomes, slow=slow):
                self.restarts += 1
                stuck = await self._run_batch([schedule], outcomes, slow=slow)
                if stuck:
                    outcomes[schedule] = Outcome(schedule, "", (), (), ["does not end"])
            left = [schedule for schedule in left if schedule not in outcomes]
        return [outcomes[schedule] for schedule in schedules]

    async def _run_batch(
        self, schedules: Sequence[Schedule], outcomes: dict[Schedule, Outcome], *, slow: bool
    ) -> list[Schedule]:
        """Run cases until all have ended or none does any more; those that were under way then."""
        places = asyncio.Semaphore(AT_ONCE)
        cases: dict[str, Case] = {}
        async with _serve(self._workflows, cases, slow=slow) as client:

            async def run(schedule: Schedule) -> None:
                async with places:
                    case = await self._make_case(schedule, client)
                    cases[case.key] = case
                    outcomes[schedule] = await _run_case(case)
                    del cases[case.key]

            pending = {asyncio.create_task(run(schedule)) for schedule in schedules}
            idle = 0.0
            while pending and idle < PATIENCE:
                ended, pending = await asyncio.wait(pending, timeout=A_WHILE, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
                idle = 0.0 if ended else idle + A_WHILE
                if not ended:
                    await _push_the_clock(client)
            suspects = [case.schedule for case in cases.values()]
            waiting = [task for case in cases.values() for _, task in case.runs.values()]
            for task in [*pending, *waiting]:
                task.cancel()
            await asyncio.gather(*pending, *waiting, return_exceptions=True)
        return suspects

    async def _make_case(self, schedule: Schedule, client: Client) -> Case:
        case: Case

        async def meanwhile(step: str) -> None:
            if case is not None:
                await case.meanwhile(step)

        shop = self._make_shop(meanwhile=meanwhile)
        case = Case(f"case-{next(_keys)}", schedule, client, shop)
        _watch(case)
        case.requested_pieces = await SHAPES[schedule.shape](shop)
        return case


def _watch(case: Case) -> None:
    """See every refund that is made or moved at Stripe; lose the answer when the schedule says so."""
    stripe = case.shop.stripe
    refund, move_refund = stripe.refund, stripe.move_refund

    def watched_refund(intent_id: str, *, refund_id: str | None, amount: int, key: str | None = None) -> Refund:
        if refund_id is not None and case.payment.open_dispute is not None:
            case.breaches.append(f"{refund_id} is asked of Stripe while a chargeback is known to be open")
        before = len(case.intent.refunds)
        made = refund(intent_id, refund_id=refund_id, amount=amount, key=key)
        if len(case.intent.refunds) > before:
            case.flips[made.id] += made.status == "succeeded"
        if refund_id is not None and case.answer_of_stripe_is_lost:
            case.answer_of_stripe_is_lost = False
            case.trace.append("Stripe's answer is lost")
            raise away("Stripe's answer is lost")
        return made

    def watched_move(made_id: str, status: str) -> None:
        [before] = [made.status for made in case.intent.refunds if made.id == made_id]
        move_refund(made_id, status)
        case.flips[made_id] += "succeeded" in (before, status) and before != status

    vars(stripe).update(refund=watched_refund, move_refund=watched_move)


async def _push_the_clock(client: Client) -> None:
    """Skip longer than anything waits: after some cases the server counts a lock too many, and skips no more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * A_WHILE):
            await client.test_service.unlock_time_skipping_with_sleep(
                SleepRequest(duration=Duration(seconds=13 * 3_600))
            )


async def _run_case(case: Case) -> Outcome:
    async with case.gate.turn(Flow("start", "", -1)):
        await case.follow()
    for _ in range(ROUNDS):
        await _all_closed(case)
        await case.arrive(None, "end")
        before = len(case.runs)
        await case.deliver()
        if len(case.runs) == before and all(task.done() for _, task in case.runs.values()):
            break
    else:
        case.breaches.append("never ends")
    case.breaches.extend(refund_oracle.breaches_at_the_end(case))
    case.breaches.extend(_breaches_of_results(case))
    order = case.shop.orders.orders["order"]
    case.trace.append(f"ends {order.status} {[str(row.status) for row in case.rows]}")
    breaches = list(dict.fromkeys(case.breaches))
    return Outcome(case.schedule, case.fingerprint, case.trace, case.seen, breaches)


async def _all_closed(case: Case) -> None:
    while open_ones := [task for _, task in case.runs.values() if not task.done()]:
        await asyncio.wait(open_ones)


def _breaches_of_results(case: Case) -> Iterator[str]:
    last: dict[str, tuple[Flow, asyncio.Task[Any]]] = {run[0].name: run for run in case.runs.values()}
    for row in case.rows:
        flow, task = last.get(case.flow_of(row).name, (None, None))
        if flow is None or task is None:
            yield f"{row.id} never had a workflow"
        elif (error := task.exception()) is not None:
            cause = error.cause if isinstance(error, WorkflowFailureError) else error
            yield f"the workflow of {flow.name} failed: {cause!r}"
        else:
            result = task.result()
            status = result["status"] if isinstance(result, dict) else result
            status = result.status if isinstance(result, RefundResult) else status
            if status != row.status:
                yield f"the workflow of {flow.name} ended {status}, its row is {row.status}"


@asynccontextmanager
async def _serve(workflows: Sequence[type], cases: dict[str, Case], *, slow: bool) -> AsyncIterator[Client]:
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
        if slow:
            stack.enter_context(time_limits(TIMEOUT))
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=workflows,
            activities=RefundStepsOfCases(cases, timeout=TIMEOUT * 1.5).activities(),
            workflow_runner=CountingRunner(cases),
            max_cached_workflows=WORKFLOWS * AT_ONCE,
            max_concurrent_workflow_tasks=WORKFLOWS * AT_ONCE,
            max_concurrent_activities=WORKFLOWS * AT_ONCE,
            max_concurrent_local_activities=WORKFLOWS * AT_ONCE,
        )
        await stack.enter_async_context(worker)
        await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
        yield client
