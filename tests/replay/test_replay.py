"""Histories of released versions replay on the code as it is, through the gate that `ordersaga replay` is.

`histories/<version>/` holds histories by workflow and by how the order ended, made once with `make histories` and never
again: a workflow of that version may still be running somewhere. A change that breaks one of a long workflow wants
`workflow.patched`; one that breaks an order's wants a version of the order worker (docs/operations.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.replay.gate import Gate
from cli.replay.histories import Source, find_files, read_history
from cli.replay.verdict import Outcome, Verdict
from runtime.temporal_codec import PLAIN
from tests.support.command import ordersaga
from tests.support.mutation import Mutation
from tests.support.releases import STEPS_SWAPPED, release

FOLDER = Path(__file__).parent / "histories"
HISTORIES = list(find_files([FOLDER]))
UNDO_SWAPPED = Mutation(
    breaks="the stock is released before the payment is voided",
    file="workflows/order_saga.py",
    source="""    (PaymentSteps.void_payment, "cancel or refund the payment"),
    (StockSteps.release, "release the stock"),
""",
    mutated="""    (StockSteps.release, "release the stock"),
    (PaymentSteps.void_payment, "cancel or refund the payment"),
""",
    tests=[],
)


@pytest_asyncio.fixture(scope="module")
async def gate() -> AsyncIterator[Gate]:
    async with Gate(PLAIN) as opened:
        yield opened


def test_there_is_a_history_of_every_workflow_and_outcome() -> None:
    outcomes = {(path.stem.split("-")[0], path.stem.rsplit("-", 1)[-1]) for path in HISTORIES}

    assert outcomes >= {
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
async def test_a_recorded_history_replays(gate: Gate, path: Path) -> None:
    assert await gate.replay(Source.of(path.stem, read_history(path))) == Outcome(path.stem, Verdict.REPLAYS)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_history_that_lacks_a_step_does_not_replay(gate: Gate, path: Path, tmp_path: Path) -> None:
    history = json.loads(path.read_text())
    steps = [event for event in history["events"] if event["eventType"] == "EVENT_TYPE_MARKER_RECORDED"]
    history["events"].remove(steps[0])
    for number, event in enumerate(history["events"], start=1):
        event["eventId"] = str(number)
    lacking = tmp_path / path.name
    lacking.write_text(json.dumps(history))

    outcome = await gate.replay(Source.of(path.stem, read_history(lacking)))

    assert outcome.verdict is Verdict.DIFFERS
    assert outcome.event_id is not None


@pytest.mark.parametrize(
    ("change", "history", "difference"),
    [
        (
            STEPS_SWAPPED,
            "order-paid-at-once-paid",
            "event 6: the workflow runs the step `reserve`; here the code runs the step `open_payment`",
        ),
        (
            UNDO_SWAPPED,  # both answer with nothing
            "order-nobody-pays-failed",
            "event 18: the workflow runs the step `void_payment`; here the code runs the step `release`",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_gate_catches_two_steps_that_changed_places(
    change: Mutation, history: str, difference: str, tmp_path: Path
) -> None:
    file = FOLDER / "0.1" / f"{history}.json"

    result = ordersaga("replay", str(file), environment=os.environ, root=release(tmp_path / "changed", change))

    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.splitlines()[:2] == [f"{file}: does not replay", f"  {difference}"]
