"""Explores: single moves, then pairs, then triples, until so many distinct traces were run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.explorer.lab import Lab, Outcome
from tests.explorer.schedule import Schedule
from tests.explorer.space import is_slow, longer, roots, shuffled

BATCH: Final = 400
"""Cases on one server at most: some memory of each stays with it."""
SMALLEST_BATCH: Final = 50
"""Cases that are worth a new server."""
DEEPEST: Final = 3


@dataclass(slots=True)
class Report:
    """What was explored."""

    cases: int = 0
    restarts: int = 0
    suspicions: int = 0
    seconds: float = 0
    traces: set[str] = field(default_factory=set)
    breaches: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        again = f", {self.restarts} run again" if self.restarts else ""
        pushed = f", clock pushed {self.suspicions} times" if self.suspicions else ""
        return f"explored {len(self.traces)} traces in {self.seconds:.0f} s ({self.cases} cases{again}{pushed})"


async def explore(
    shapes: Sequence[str],
    *,
    traces: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run cases, the shorter schedules first, until so many distinct traces were met.

    Args:
        shapes: the orders to begin with.
        traces: how many are enough; all single moves are run in any case.
        seed: decides the order in which pairs and triples are met.
        tell: is told how far it is, now and then.
    """
    lab, report, began = Lab(), Report(), time.monotonic()
    level = roots(shapes)
    for depth in range(DEEPEST + 1):
        outcomes: list[Outcome] = []
        fast, slow = _split(level)
        while fast and (depth < 2 or len(report.traces) < traces):
            size = BATCH if depth < 2 else min(BATCH, max(SMALLEST_BATCH, traces - len(report.traces)))
            batch, fast = fast[:size], fast[size:]
            outcomes.extend(await _run(batch, report, lab, slow=False))
            report.seconds = time.monotonic() - began
            tell(str(report))
        if depth == 1:
            await _run(slow, report, lab, slow=True)
        if depth > 1 and len(report.traces) >= traces:
            break
        level = [schedule for outcome in outcomes for schedule in longer(outcome)]
        level = shuffled(level, seed=seed) if depth else level
    return report


def describe(outcome: Outcome) -> str:
    """A failing case in words, with the schedule by which it runs alone."""
    lines = [f"make explore SCHEDULE='{outcome.schedule}'", *(f"  breach: {breach}" for breach in outcome.breaches)]
    return "\n".join([*lines, "  trace: " + ", ".join(outcome.trace)])


def _split(schedules: Sequence[Schedule]) -> tuple[list[Schedule], list[Schedule]]:
    """Those that take no real time, and those that do, which run apart, and only singly."""
    fast = [schedule for schedule in schedules if not is_slow(schedule)]
    return fast, [schedule for schedule in schedules if is_slow(schedule)]


async def _run(schedules: Sequence[Schedule], report: Report, lab: Lab, *, slow: bool) -> list[Outcome]:
    outcomes = await lab.run(schedules, slow=slow)
    report.cases += len(outcomes)
    report.restarts, report.suspicions = lab.restarts, lab.suspicions
    report.traces.update(outcome.fingerprint for outcome in outcomes)
    report.breaches.extend(outcome for outcome in outcomes if outcome.breaches)
    return outcomes
