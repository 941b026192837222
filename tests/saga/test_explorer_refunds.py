"""Every single fault and event of a refund and a dispute, and many pairs: money, stock, order and attention agree.

`tests.explorer.refund_explore` says what is enumerated, `tests.explorer.refund_oracle` what is checked. How many
distinct traces are met is asked for; seconds are only printed. One case runs alone with, for example,
``REFUND_SCHEDULE='part r1.restock:lost' .venv/bin/pytest -n 0 tests/saga/test_explorer_refunds.py -k alone -s``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from tests.explorer.refund_explore import describe, explore, is_slow
from tests.explorer.refund_lab import Lab
from tests.explorer.refund_mutants import HUNTS
from tests.explorer.refund_shapes import SHAPES
from tests.explorer.schedule import parse

SCHEDULE: Final = os.environ.get("REFUND_SCHEDULE", "")
TRACES: Final = 260
"""In each share of `make test`; `make test-more` runs the whole space."""
SEED: Final = int(os.environ.get("REFUND_SEED", "0"))

# A workflow that closes with an activity under way makes the SDK cancel one which may have ended by then.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")

Record = Callable[[str, object], None]


async def explore_share(record: Record, shapes: Sequence[str], *, traces: int, **options: Any) -> None:
    report = await explore(shapes, seed=SEED, **options)

    record("figure", f"{', '.join([*shapes, *options.get('only_faults_of', ())])}: {report}")
    breaches = "\n".join(describe(outcome) for outcome in report.breaches)
    assert not breaches, breaches
    assert len(report.traces) >= traces


@pytest.mark.timeout(900)
class TestRefundsOfASale:
    async def test_no_schedule_breaks_a_rule(self, record_property: Record) -> None:
        await explore_share(
            record_property,
            ["all", "part", "owed", "dashboard"],
            only_faults_of=["failed", "resolved"],
            traces=TRACES,
            pairs=10,
        )


@pytest.mark.timeout(900)
class TestRefundsThatTakeTime:
    async def test_no_schedule_breaks_a_rule(self, record_property: Record) -> None:
        await explore_share(record_property, ["pending"], only_faults_of=["two", "disputed"], traces=TRACES, pairs=10)


@pytest.mark.more
@pytest.mark.timeout(1_800)
class TestEveryShapeOfRefund:
    @pytest.mark.parametrize("shape", SHAPES)
    async def test_no_schedule_breaks_a_rule(self, shape: str, record_property: Record) -> None:
        await explore_share(record_property, [shape], traces=40, pairs=400, with_slow=True)


@pytest.mark.parametrize("mutant", HUNTS)
async def test_a_broken_refund_is_caught_by_a_schedule(mutant: str, record_property: Record) -> None:
    hunt = HUNTS[mutant]

    ran = await hunt.run(hunt.lab())
    caught = [outcome for outcome in ran if any(hunt.breaks in breach for breach in outcome.breaches)]
    assert caught, f"none of {len(ran)} schedules broke the rule; broken: {[outcome.breaches for outcome in ran]}"
    record_property("figure", f"mutant of refunds caught, {mutant}: by '{caught[0].schedule}': {hunt.breaks}")

    passed = await Lab().run([outcome.schedule for outcome in ran])
    assert [describe(outcome) for outcome in passed if outcome.breaches] == []


@pytest.mark.skipif(not SCHEDULE, reason="no REFUND_SCHEDULE is given")
async def test_one_schedule_alone() -> None:
    schedule = parse(SCHEDULE)

    [outcome] = await Lab().run([schedule], slow=is_slow(schedule))

    assert not outcome.breaches, describe(outcome)
