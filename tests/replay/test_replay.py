"""Histories of released versions replay on the code as it is.

`histories/<version>/` holds histories by workflow and by how the order ended. They were recorded with
`ordersaga demo --histories`, those of steps that failed, were parked or were repaired in `tests/saga`, and are never
recorded again: a workflow of that version may still be running somewhere. A change that breaks one of these wants
`workflow.patched`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from workers.order_worker import WORKFLOWS, workflow_runner

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/*.json"))


def replayer() -> Replayer:
    return Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner(sandbox=True))


def test_there_is_a_history_of_every_workflow_and_outcome() -> None:
    outcomes = {(path.stem.split("-")[0], path.stem.rsplit("-", 1)[-1]) for path in HISTORIES}

    assert outcomes == {
        ("order", "paid"),
        ("order", "failed"),
        ("order", "cancelled"),
        ("refund", "partially_refunded"),
        ("refund", "refunded"),
        ("refund", "cancelled"),
        ("refund", "paid"),
        ("dispute", "refunded"),
    }


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    await replayer().replay_workflow(WorkflowHistory.from_json("order", path.read_text()))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_history_that_lacks_a_step_does_not_replay(path: Path) -> None:
    history = json.loads(path.read_text())
    steps = [event for event in history["events"] if event["eventType"] == "EVENT_TYPE_MARKER_RECORDED"]
    history["events"].remove(steps[0])
    for number, event in enumerate(history["events"], start=1):
        event["eventId"] = str(number)

    with pytest.raises((NondeterminismError, RuntimeError)):
        await replayer().replay_workflow(WorkflowHistory.from_json("order", json.dumps(history)))
