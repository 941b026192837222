"""The space of schedules, found by running: what can be added to a schedule is what its run came to.

The orders that nothing happens to are run first. Each point that a run came to, with the events that were possible
there, and each call of a step, with the ways in which it can go wrong, makes one longer schedule; those of the shorter
ones are all run before any longer one. So nothing is scheduled for a point that is never reached, and every pair of
moves is met once, in the order in which it happens. What arrives at the end of a local step and what arrives before the
next one is seen by the saga at the same time; only the latter is run, except for the worker's death.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from tests.explorer.events import CRASH
from tests.explorer.faults import SLOW, faults_of
from tests.explorer.lab import Outcome
from tests.explorer.schedule import Arrival, Fault, Move, Schedule


def roots(shapes: Iterable[str]) -> list[Schedule]:
    """The orders that nothing happens to."""
    return [Schedule(shape) for shape in shapes]


def longer(outcome: Outcome) -> Iterator[Schedule]:
    """Every schedule that adds one move to a run, at the place of its last one or after it."""
    last = outcome.schedule.moves[-1] if outcome.schedule.moves else None
    began = last is None
    for seen, following in zip(outcome.seen, [*outcome.seen[1:], None], strict=False):
        is_last = last is not None and not began and _place(last) == (seen.call or seen.point)
        if not began and not is_last:
            continue
        began = True
        is_twin = seen.is_local and following is not None and bool(following.call)
        for move in _moves(seen.point, seen.call, (CRASH,) if is_twin else seen.events):
            # At one place both orders are the same moment, so only one of them is met.
            if not (is_last and last is not None and (isinstance(move, Fault) or str(move) <= str(last))):
                yield outcome.schedule.then(move)


def is_slow(schedule: Schedule) -> bool:
    """Whether a step of it takes too long in real time."""
    return any(isinstance(move, Fault) and move.kind in SLOW for move in schedule.moves)


def shuffled(schedules: Sequence[Schedule], *, seed: int) -> list[Schedule]:
    """The same schedules in an order that the seed decides; of any two, which others there are does not matter."""
    return sorted(schedules, key=lambda schedule: hashlib.sha256(f"{seed} {schedule}".encode()).digest())


def _moves(point: str, call: str, events: Sequence[str]) -> Iterator[Move]:
    if call:
        for kind in faults_of(call.partition("#")[0]):
            yield Fault(call, kind)
    for event in events:
        yield Arrival(event, point)


def _place(move: Move) -> str:
    return move.call if isinstance(move, Fault) else move.point
