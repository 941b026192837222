"""What a person on call is told to do: it names a command that there is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.serve import PARTS
from domain.concerns import AWAY_STEP, TASK_STEP, ConcernKind
from runtime.identity import Part
from services.order.attention.advice import advise
from services.order.attention.model import TEMPORAL, WATCHER, OpenConcern


def concern(kind: ConcernKind, subject_id: str, step: str, *, attempts: int = 0) -> OpenConcern:
    return OpenConcern(
        id=1,
        kind=kind,
        subject_id=subject_id,
        step=step,
        order_id=None,
        cause="why",
        since=datetime(2026, 11, 30, 3, 0, tzinfo=UTC),
        attempts=attempts,
        last_error=None,
        raised_by=WATCHER,
    )


@pytest.mark.parametrize("subject_id", [TEMPORAL, Part.ORDER_WORKER, Part.INVENTORY, Part.PAYMENT, Part.NOTIFICATION])
def test_whoever_is_away_is_asked_about_at_a_part_that_doctor_knows(subject_id: str) -> None:
    to_do = advise(concern(ConcernKind.PART, subject_id, AWAY_STEP)).to_do

    part = to_do.partition("ordersaga doctor ")[2].split()[0]
    assert part in PARTS
    assert "restart it if it is frozen" in to_do


def test_a_task_that_fails_and_one_that_nobody_takes_up_want_different_things() -> None:
    fails = advise(concern(ConcernKind.ORDER, "order", TASK_STEP, attempts=3)).to_do
    waits = advise(concern(ConcernKind.ORDER, "order", TASK_STEP)).to_do

    assert "deploy the fix" in fails
    assert "order worker" in waits
