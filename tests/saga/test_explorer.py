"""Thousands of schedules of one order: whatever goes wrong and whenever it does, money, stock and order agree.

`tests.explorer` says what is enumerated and what is checked. Every single move of every shape is run, then as many
pairs as it takes; each class is a share of the space for a test process of its own. How many distinct traces are met is
asked for, and so is the same in every run; seconds are only printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from tests.explorer.explore import describe, explore

TRACES: Final = 1_050
"""In each share; a few are met in both, and together they are to be 2,000."""

# A saga that gives up an activity and closes makes the SDK cancel one which may have ended by then.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")

Record = Callable[[str, object], None]


async def explore_share(shapes: Sequence[str], record: Record) -> None:
    report = await explore(shapes, traces=TRACES)

    record("figure", f"{', '.join(shapes)}: {report}")
    record("traces", sorted(report.traces))
    record("seconds", report.seconds)
    breaches = "\n".join(describe(outcome) for outcome in report.breaches)
    assert not breaches, breaches
    assert len(report.traces) >= TRACES


@pytest.mark.timeout(900)
class TestOrdersThatAreSimplyPaid:
    async def test_no_schedule_breaks_a_rule(self, record_property: Record) -> None:
        await explore_share(["later", "visa", "short"], record_property)


@pytest.mark.timeout(900)
class TestOrdersWithADifficultPayment:
    async def test_no_schedule_breaks_a_rule(self, record_property: Record) -> None:
        await explore_share(["declined", "action", "slow", "unknown"], record_property)
