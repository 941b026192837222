"""Explores: single moves, then pairs, then triples, until so many distinct traces were run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.saga.simulator.case import Outcome
from tests.saga.simulator.faults import LATE, TIMEOUT
from tests.saga.simulator.schedule import Fault, Move, Schedule
from tests.saga.simulator.simulator import Simulator
from tests.saga.simulator.space import longer, roots, shuffled

BATCH: Final = 400
"""Cases on one server at most: some memory of each stays with it."""
SMALLEST_BATCH: Final = 50
"""Cases that are worth a new server."""
DEEPEST: Final = 3


@dataclass(slots=True)
class Report:
    """What was explored."""

    cases: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    """What went wrong with the server or the count of turns: how often each."""
    seconds: float = 0
    traces: dict[str, Schedule] = field(default_factory=dict)
    """A schedule for each distinct trace, by its fingerprint."""
    breaches: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        trouble = "".join(f", {name} {times} times" for name, times in self.troubles.items())
        return f"explored {len(self.traces)} traces in {self.seconds:.0f} s ({self.cases} cases{trouble})"


async def explore(
    simulator: Simulator,
    beginnings: Sequence[str],
    *,
    traces: int,
    only_faults_of: Sequence[str] = (),
    seed: int = 0,
    show: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run cases, the shorter schedules first, until so many distinct traces were met.

    Args:
        simulator: runs them.
        beginnings: the cases to begin with.
        traces: how many are enough; all single moves are run in any case.
        only_faults_of: more cases to begin with, none with a deadline, of which the single faults alone are run that
            have traces of their own.
        seed: decides the order in which pairs and triples are met.
        show: is called with how far it is, now and then.
    """
    report, began = Report(), time.monotonic()
    troubles = simulator.troubles.copy()

    async def run(schedules: Sequence[Schedule]) -> list[Outcome]:
        outcomes = await simulator.run(schedules)
        _add(report, outcomes)
        report.troubles = simulator.troubles - troubles
        report.seconds = time.monotonic() - began
        show(str(report))
        return outcomes

    level = roots([*beginnings, *only_faults_of])
    for depth in range(DEEPEST + 1):
        outcomes: list[Outcome] = []
        while level and (depth < 2 or len(report.traces) < traces):
            size = BATCH if depth < 2 else min(BATCH, max(SMALLEST_BATCH, traces - len(report.traces)))
            batch, level = level[:size], level[size:]
            outcomes += await run(batch)
        if depth and len(report.traces) >= traces:
            break
        level = list(_grow(outcomes, frozenset(only_faults_of)))
        level = shuffled(level, seed=seed) if depth else level
    return report


def describe(outcome: Outcome) -> str:
    """A failing case in words, with the schedule by which it runs alone."""
    lines = [f"make explore SCHEDULE='{outcome.schedule}'", *(f"  breach: {breach}" for breach in outcome.breaches)]
    return "\n".join([*lines, "  trace: " + ", ".join(outcome.trace)])


def _grow(outcomes: Iterable[Outcome], only_faults_of: frozenset[str]) -> Iterable[Schedule]:
    for outcome in outcomes:
        is_narrow = outcome.schedule.beginning in only_faults_of
        if is_narrow and outcome.schedule.moves:
            continue
        for schedule in longer(outcome):
            if not is_narrow or _leaves_its_own_trace(schedule.moves[-1]):
                yield schedule


def _leaves_its_own_trace(move: Move) -> bool:
    """Whether it is a fault, and no other fault of the call has the same trace where no deadline runs out meanwhile."""
    return isinstance(move, Fault) and move.kind not in (TIMEOUT, LATE)


def _add(report: Report, outcomes: Sequence[Outcome]) -> None:
    report.cases += len(outcomes)
    for outcome in outcomes:
        report.traces.setdefault(outcome.fingerprint, outcome.schedule)
    report.breaches += [outcome for outcome in outcomes if outcome.breaches]
