"""The space of schedules, found by running: what can be added to a schedule is what its run came to.

The cases that nothing happens to are run first. Each point that a run came to, with the events that were possible
there, and each call of a step, with the ways in which it can go wrong, makes one longer schedule; those of the shorter
ones are all run before any longer one. So nothing is scheduled for a point that is never reached, and every pair of
moves is met once, in the order in which it happens.

Two points that nothing lies between are one: what happens at the end of a local step and what happens before the next
one is seen by the saga at the same time, and what happens after a call to Stripe and before the next one finds the same
there. Only the latter is run, except for the worker's death.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from tests.saga.simulator.case import Outcome, Seen
from tests.saga.simulator.events import CRASH
from tests.saga.simulator.schedule import Arrival, Fault, Move, Schedule


def roots(beginnings: Iterable[str]) -> list[Schedule]:
    """The cases that nothing happens to."""
    return [Schedule(beginning) for beginning in beginnings]


def longer(outcome: Outcome) -> Iterator[Schedule]:
    """Every schedule that adds one move to a run, at the place of its last one or after it."""
    last = outcome.schedule.moves[-1] if outcome.schedule.moves else None
    began = last is None
    for seen, following in zip(outcome.seen, [*outcome.seen[1:], None], strict=False):
        is_last = last is not None and not began and last.place == seen.place
        if not began and not is_last:
            continue
        began = True
        for move in _moves(seen, following):
            # At one place both orders are the same moment, so only one of them is met.
            if not (is_last and last is not None and (isinstance(move, Fault) or str(move) <= str(last))):
                yield outcome.schedule.then(move)


def shuffled(schedules: Sequence[Schedule], *, seed: int) -> list[Schedule]:
    """The same schedules in an order that the seed decides; of any two, which others there are does not matter."""
    return sorted(schedules, key=lambda schedule: hashlib.sha256(f"{seed} {schedule}".encode()).digest())


def _moves(seen: Seen, following: Seen | None) -> Iterator[Move]:
    for kind in seen.faults:
        yield Fault(seen.place, kind)
    is_same_moment = following is not None and following.is_call and seen.is_followed_at_once
    for event in seen.events:
        if event == CRASH or not is_same_moment:
            yield Arrival(event, seen.place)
