"""A shop whose sagas are traced: each step is one span, however often its history is replayed, in the sandbox, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Interceptor, Replayer

from runtime.temporal_tracing import client_interceptors
from tests.support.recorded_spans import recording, trace_of
from tests.support.saga_shop import open_shop
from workers.order_worker import workflow_runner
from workers.queues import WORKFLOWS

STEPS = ("quote", "reserve", "open_payment", "mark_pending", "check_payment", "commit", "mark")


async def test_a_step_is_one_span_though_its_workflow_is_replayed_at_each_task(
    env: WorkflowEnvironment, disposable_databases: Mapping[str, str], tmp_path: Path
) -> None:
    with recording() as spans:
        interceptors = client_interceptors()
        client = Client(**(env.client.config() | {"interceptors": list(interceptors)}))
        traced = WorkflowEnvironment.from_client(client)
        async with open_shop(
            disposable_databases, traced, data=tmp_path, task_queue="traced", cached_workflows=0
        ) as shop:
            product = await shop.product(price=1_250, units=10)
            run = await shop.place((product, 2), payment_method=None, wait=10)
            await shop.pay(run)
            await shop.deliver_events()
            result = await shop.result(run)
            history = await run.fetch_history()
        steps = [span for span in spans.all() if span.name.startswith(("StartActivity:", "RunActivity:"))]
        recorded = len(spans.all())
        replayer = Replayer(
            workflows=WORKFLOWS,
            workflow_runner=workflow_runner(sandbox=True),
            interceptors=[each for each in interceptors if isinstance(each, Interceptor)],
        )
        replayed = await replayer.replay_workflow(type(history).from_json(run.id, history.to_json()))
        made_by_replay = len(spans.all()) - recorded

    assert (result.status, replayed.replay_failure, made_by_replay) == ("PAID", None, 0)
    counts = Counter(span.name for span in steps)
    assert counts == {
        f"{kind}:{step}": counts[f"StartActivity:{step}"] for kind in ("StartActivity", "RunActivity") for step in STEPS
    }
    assert [name for name, count in counts.items() if count > 1 and "check_payment" not in name] == []
    assert len({trace_of(span) for span in steps}) == 1


async def test_a_history_of_a_traced_saga_replays_while_traces_are_off(
    env: WorkflowEnvironment, disposable_databases: Mapping[str, str], tmp_path: Path
) -> None:
    with recording():
        client = Client(**(env.client.config() | {"interceptors": list(client_interceptors())}))
        traced = WorkflowEnvironment.from_client(client)
        async with open_shop(disposable_databases, traced, data=tmp_path, task_queue="once-traced") as shop:
            product = await shop.product(price=1_250, units=10)
            run = await shop.place((product, 2), payment_method="pm_card_visa", wait=10)
            await shop.deliver_events()
            await shop.result(run)
            history = await run.fetch_history()

    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner(sandbox=True))
    replayed = await replayer.replay_workflow(type(history).from_json(run.id, history.to_json()))
    assert "_tracer-data" in history.to_json()
    assert replayed.replay_failure is None
