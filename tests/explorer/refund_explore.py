"""The space of schedules of refunds, found by running: every single move of every shape, then pairs.

The refunds that nothing happens to are run first. Each point that a run came to, with what could happen there, and each
call of a step, with the ways in which it can go wrong, makes one longer schedule; so nothing is scheduled for a point
that is never reached. A case counts once per distinct trace.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.explorer.faults import SLOW
from tests.explorer.refund_lab import Lab, Outcome
from tests.explorer.refund_steps import LATE_CRASH
from tests.explorer.schedule import Arrival, Fault, Move, Schedule

BATCH: Final = 400
"""Cases on one server: some memory of each stays with it."""


@dataclass(slots=True)
class Report:
    """What was explored."""

    cases: int = 0
    restarts: int = 0
    seconds: float = 0
    traces: dict[str, Schedule] = field(default_factory=dict)
    breaches: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        again = f", {self.restarts} run again" if self.restarts else ""
        return f"explored {len(self.traces)} traces of refunds in {self.seconds:.0f} s ({self.cases} cases{again})"

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Some more cases were run."""
        self.cases += len(outcomes)
        for outcome in outcomes:
            self.traces.setdefault(outcome.fingerprint, outcome.schedule)
        self.breaches.extend(outcome for outcome in outcomes if outcome.breaches)


async def explore(
    shapes: Sequence[str],
    *,
    pairs: int,
    only_faults_of: Sequence[str] = (),
    seed: int = 0,
    lab: Lab | None = None,
) -> Report:
    """Run every single move, of some shapes the faults alone, and so many pairs of the others in the seed's order.

    What takes real time, or stops its server's clock, is run only alone, by its schedule.
    """
    lab, report, began = lab or Lab(), Report(), time.monotonic()
    roots = await lab.run([Schedule(shape) for shape in (*shapes, *only_faults_of)])
    report.add(roots)
    singles = [
        schedule
        for outcome in roots
        for schedule in longer(outcome)
        if outcome.schedule.shape in shapes or isinstance(schedule.moves[-1], Fault)
        if not is_slow(schedule)
    ]
    outcomes = await _run_all(singles, lab, report)
    if pairs:
        base = [each for each in outcomes if each.schedule.shape in shapes]
        level = [schedule for outcome in base for schedule in longer(outcome)]
        chosen = sorted((each for each in level if not is_slow(each)), key=lambda each: _rank(each, seed))
        await _run_all(chosen[:pairs], lab, report)
    report.restarts, report.seconds = lab.restarts, time.monotonic() - began
    return report


def longer(outcome: Outcome) -> Iterator[Schedule]:
    """Every schedule that adds one move to a run, after the place of its last one."""
    last = outcome.schedule.moves[-1] if outcome.schedule.moves else None
    began = last is None
    for seen in outcome.seen:
        if began:
            moves: list[Move] = [Fault(seen.place, kind) for kind in seen.faults]
            moves += [Arrival(event, seen.place) for event in seen.events]
            yield from (outcome.schedule.then(move) for move in moves)
        began = began or (last is not None and seen.place == (last.call if isinstance(last, Fault) else last.point))


def is_slow(schedule: Schedule) -> bool:
    """Whether a step of it takes too long in real time, or stops the clock of its server."""
    return any(isinstance(move, Fault) and move.kind in (*SLOW, LATE_CRASH) for move in schedule.moves)


def describe(outcome: Outcome) -> str:
    """A failing case in words, with the schedule by which it runs alone."""
    lines = [f"make explore SCHEDULE='{outcome.schedule}'", *(f"  breach: {breach}" for breach in outcome.breaches)]
    return "\n".join([*lines, "  trace: " + ", ".join(outcome.trace)])


async def _run_all(schedules: Sequence[Schedule], lab: Lab, report: Report) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for start in range(0, len(schedules), BATCH):
        outcomes += await lab.run(schedules[start : start + BATCH])
    report.add(outcomes)
    return outcomes


def _rank(schedule: Schedule, seed: int) -> str:
    return hashlib.sha256(f"{seed} {schedule}".encode()).hexdigest()
