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
"""Cases on one server: some memory of each stays with it."""
DEEPEST: Final = 3


@dataclass(slots=True)
class Report:
    """What was explored."""

    cases: int = 0
    restarts: int = 0
    seconds: float = 0
    traces: set[str] = field(default_factory=set)
    breaches: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        again = f", {self.restarts} run again" if self.restarts else ""
        return f"explored {len(self.traces)} traces in {self.seconds:.0f} s ({self.cases} cases{again})"


async def explore(
    shapes: Sequence[str],
    *,
    traces: int,
    seed: int = 0,
    lab: Lab | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run cases, the shorter schedules first, until so many distinct traces were met.

    Args:
        shapes: the orders to begin with.
        traces: how many are enough; all single moves are run in any case.
        seed: decides the order in which pairs and triples are met.
        lab: where they run.
        tell: is told how far it is, now and then.
    """
    lab, report, began = lab or Lab(), Report(), time.monotonic()
    level = roots(shapes)
    for depth in range(DEEPEST + 1):
        outcomes: list[Outcome] = []
        for batch in _batches(level, depth=depth):
            if depth > 1 and len(report.traces) >= traces:
                break
            ran = await lab.run(batch, slow=is_slow(batch[0]))
            outcomes.extend(ran)
            _add(report, ran, lab, seconds=time.monotonic() - began)
            tell(str(report))
        level = [schedule for outcome in outcomes for schedule in longer(outcome) if not is_slow(outcome.schedule)]
        level = shuffled(level, seed=seed) if depth else level
    return report


def describe(outcome: Outcome) -> str:
    """A failing case in words, with the schedule by which it runs alone."""
    lines = [f"SCHEDULE='{outcome.schedule}'", *(f"  breach: {breach}" for breach in outcome.breaches)]
    return "\n".join([*lines, "  trace: " + ", ".join(outcome.trace)])


def _batches(schedules: Sequence[Schedule], *, depth: int) -> list[list[Schedule]]:
    """Those that take real time apart from the others; of them only single moves."""
    fast = [schedule for schedule in schedules if not is_slow(schedule)]
    slow = [schedule for schedule in schedules if is_slow(schedule)] if depth == 1 else []
    return [kind[start : start + BATCH] for kind in (fast, slow) for start in range(0, len(kind), BATCH)]


def _add(report: Report, outcomes: Sequence[Outcome], lab: Lab, *, seconds: float) -> None:
    report.cases += len(outcomes)
    report.restarts = lab.restarts
    report.seconds = seconds
    report.traces.update(outcome.fingerprint for outcome in outcomes)
    report.breaches.extend(outcome for outcome in outcomes if outcome.breaches)
