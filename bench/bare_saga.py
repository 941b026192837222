"""The reference: a saga that does nothing, with as many steps as `OrderSaga` has on its way to PAID.

Five local activities, a timer, a signal; unsandboxed. What it costs is what Temporal costs. The signal comes once the
saga waits for it, as a payment does: one that comes at once would spare the saga its timer and its second task.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

Waits = Callable[[str], Awaitable[None]]
TASK_QUEUE = "bare-saga"
LAST_STEP = 4
SOON = timedelta(seconds=4)


@activity.defn
async def do_nothing(step: int) -> int:
    if step == LAST_STEP - 1:
        print(activity.info().workflow_id, flush=True)
    return step


@workflow.defn
class BareSaga:
    def __init__(self) -> None:
        self._paid = False

    @workflow.signal
    def pay(self) -> None:
        self._paid = True

    @workflow.run
    async def run(self) -> None:
        for step in range(LAST_STEP):
            await workflow.execute_local_activity(do_nothing, step, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self._paid, timeout=timedelta(minutes=15))
        await workflow.execute_local_activity(do_nothing, LAST_STEP, start_to_close_timeout=SOON)


async def run_sagas(client: Client, waits: Waits, *, count: int, concurrency: int, name: str) -> float:
    """Run `count` sagas on a worker elsewhere; sagas per second. `waits` returns once one wants its signal."""
    numbers = iter(range(count))

    async def drive() -> None:
        for number in numbers:
            run = await client.start_workflow(BareSaga.run, id=f"{name}-{number}", task_queue=TASK_QUEUE)
            await waits(run.id)
            await run.signal(BareSaga.pay)
            await run.result()

    began = time.monotonic()
    await asyncio.gather(*(drive() for _ in range(concurrency)))
    return count / (time.monotonic() - began)


async def work(address: str) -> None:
    """The worker, until standard input ends."""
    client = await Client.connect(address)
    runner = UnsandboxedWorkflowRunner()
    async with Worker(
        client, task_queue=TASK_QUEUE, workflows=[BareSaga], activities=[do_nothing], workflow_runner=runner
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
