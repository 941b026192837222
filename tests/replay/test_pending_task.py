"""Workflows whose code raises: the task in which it does fails for ever, and there is nothing of it in the history."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from domain.ids import new_id
from domain.orders import PricedLine
from domain.saga import ORDER_SAGA, OpenPaymentRequest, Quote, QuoteRequest
from runtime.release import worker_version
from runtime.settings import Settings
from runtime.temporal_namespace import set_up
from services.order.bootstrap import saga_policy
from tests.support.client import until
from tests.support.command import ordersaga
from tests.support.mutation import Mutation
from tests.support.order_shop import new_order
from tests.support.releases import release
from workers.first_version import take_over_if_first
from workers.order_worker import workflow_runner
from workers.queues import Slots, working
from workflows.order_saga import OrderSaga

AT_ONCE = Mutation(
    breaks="the saga raises before its first step",
    file="workflows/order_saga.py",
    source="        web_ui.show_received(len(self._order.lines))\n",
    mutated='        raise KeyError("no such thing")\n',
    tests=[],
)
AFTER_A_STEP = Mutation(
    breaks="the saga raises after its first step",
    file="workflows/order_saga.py",
    source="            await self._reserve()\n            payment",
    mutated='            raise KeyError("no such thing")\n            payment',
    tests=[],
)


@activity.defn
async def quote(request: QuoteRequest) -> Quote:
    lines = [PricedLine(line.product_id, line.quantity, 100) for line in request.lines]
    return Quote(lines=lines, total=sum(line.quantity * line.unit_price for line in lines), currency=request.currency)


@activity.defn
async def open_payment(request: OpenPaymentRequest) -> NoReturn:
    raise AssertionError(f"order {request.order_id} came as far as that")


def fail(*_: object) -> NoReturn:
    raise KeyError("no such thing")


@pytest_asyncio.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    """Of the dev server, whose histories end as those of a cluster do."""
    server = str(Path(sys.executable).with_name("temporal"))
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=server) as env:
        await set_up(env.client, retention=timedelta(days=1))
        yield env.client


async def failing_history(client: Client, folder: Path) -> Path:
    """The history of an order whose task has failed at least once, on the code as it is patched now."""
    order_id, settings = new_id(), Settings(temporal_task_queue=new_id(), deployment_name=new_id())
    order = new_order().saga_input(order_id, saga_policy(settings), is_repair=False)
    async with working(
        client,
        [quote, open_payment],
        task_queue=settings.temporal_task_queue,
        runner=workflow_runner(sandbox=False),
        slots=Slots.of(settings),
        grace=1,
        version=worker_version(settings),
    ):
        await take_over_if_first(client, settings, asyncio.Event())
        run = await client.start_workflow(ORDER_SAGA, order, id=order_id, task_queue=settings.temporal_task_queue)

        async def kinds() -> list[int]:
            return [event.event_type for event in (await run.fetch_history()).events]

        await until(kinds, lambda found: EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED in found)
        file = folder / "order.json"
        file.write_text((await run.fetch_history()).to_json())
    await run.terminate()
    return file


async def test_a_pending_task_that_the_code_fails_is_told_with_its_error_and_the_fix_is_not_taken_on_trust(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrderSaga, "_process", fail)
    file = await failing_history(client, tmp_path)

    broken = ordersaga("replay", str(file), environment=os.environ, root=release(tmp_path / "broken", AT_ONCE))
    fixed = ordersaga("replay", str(file), environment=os.environ)

    assert (broken.returncode, broken.stderr) == (1, "")
    assert broken.stdout.splitlines() == [
        f"{file}: its pending task fails",
        "  after event 0 its workflow task is pending, and fails here: KeyError: 'no such thing'",
        "  event 4: at the server it failed: KeyError: 'no such thing'",
        "1 history, 0 replay, 1 its pending task fails",
    ]
    assert (fixed.returncode, fixed.stderr) == (1, "")
    assert fixed.stdout.splitlines() == [
        f"{file}: cannot be told by a replay",
        "  event 4: at the server it failed: KeyError: 'no such thing'",
        "  here it runs the step `quote`, whose answer is in no history: a replay cannot tell what follows",
        "1 history, 0 replay, 1 cannot be told by a replay",
    ]


async def test_of_a_task_that_fails_after_a_step_a_replay_cannot_tell(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrderSaga, "_reserve", fail)
    file = await failing_history(client, tmp_path)

    broken = ordersaga("replay", str(file), environment=os.environ, root=release(tmp_path / "broken", AFTER_A_STEP))

    assert (broken.returncode, broken.stderr) == (1, "")
    assert broken.stdout.splitlines()[0] == f"{file}: cannot be told by a replay"
