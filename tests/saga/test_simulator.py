"""Thousands of schedules of one order: whatever goes wrong and whenever it does, money, stock and order agree.

`tests.saga.simulator` says what is enumerated and what is checked. Every single move of every beginning is run, then as
many pairs as it takes; each test has a share of the space. How many distinct traces are met is asked for, and so is the
same in every run; seconds are only printed. The services run on uvloop, as in production.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest
import uvloop

from tests.saga.simulator.case import Outcome
from tests.saga.simulator.explore import describe, explore
from tests.saga.simulator.order_beginnings import ORDERS
from tests.saga.simulator.simulator import Simulator
from tests.saga.simulator.space import longer, roots, shuffled

TRACES: Final = 550
"""In each share; together they are to be 2,000, and some are met in more than one."""
SAMPLE: Final = 25
"""Schedules that are run twice."""

# A saga that abandons an activity and closes makes the SDK cancel one which may have ended by then.
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3_600),
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning"),
]

Record = Callable[[str, object], None]


@pytest.mark.parametrize(
    "beginnings",
    [("later",), ("visa", "short"), ("declined", "unknown"), ("action", "slow"), ("free", "freed")],
    ids=", ".join,
)
def test_no_schedule_of_an_order_breaks_a_rule(
    simulator: Simulator, beginnings: Sequence[str], record_property: Record
) -> None:
    report = uvloop.run(explore(simulator, beginnings, traces=TRACES))

    record_property("figure", f"{', '.join(beginnings)}: {report}")
    record_property("traces", sorted(report.traces))
    record_property("seconds", report.seconds)
    breaches = "\n".join(describe(outcome) for outcome in report.breaches)
    assert not breaches, breaches
    assert len(report.traces) >= TRACES


def test_a_schedule_has_the_same_trace_in_every_run(simulator: Simulator) -> None:
    once, twice = uvloop.run(_run_twice(simulator))

    assert [_course(outcome) for outcome in once] == [_course(outcome) for outcome in twice[::-1]]


async def _run_twice(simulator: Simulator) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
    """Some single moves and pairs, and again in the opposite order."""
    outcomes = await simulator.run(roots(ORDERS))
    singles = [schedule for outcome in outcomes for schedule in longer(outcome)]
    firsts = await simulator.run(shuffled(singles, seed=1)[:SAMPLE])
    pairs = [shuffled(list(longer(outcome)), seed=2)[0] for outcome in firsts if list(longer(outcome))]
    schedules = [*(outcome.schedule for outcome in firsts), *pairs]
    return await simulator.run(schedules), await simulator.run(schedules[::-1])


def _course(outcome: Outcome) -> tuple[str, list[str], list[str]]:
    return str(outcome.schedule), list(outcome.trace), [seen.place for seen in outcome.seen]
