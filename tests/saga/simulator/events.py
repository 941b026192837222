"""What can happen outside of a case's workflows: when it is possible, and how it happens to the real services.

`customer_events` has what happens to an order, `refund_events` what happens to its refunds and disputes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tests.saga.simulator.turns import Flow

if TYPE_CHECKING:
    from tests.saga.simulator.case import Case

UNHEARD: Final = "-unheard"
DOUBLED: Final = "-doubled"
CRASH: Final = "crash"


class Where(StrEnum):
    """The kinds of points."""

    BEFORE = "before"
    """A step."""
    AFTER = "after"
    """A step."""
    INSIDE = "inside"
    """A step, before or after one of its calls to Stripe."""
    WAIT = "wait"
    ATTENTION = "attention"
    END = "end"


AROUND_STEPS: Final = frozenset({Where.BEFORE, Where.AFTER, Where.WAIT, Where.ATTENTION})
ANYWHERE: Final = frozenset(Where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens at most once in a case."""

    is_possible: Callable[[Case], bool]
    happen: Callable[[Case, Flow | None], Awaitable[object]]
    where: frozenset[Where] = AROUND_STEPS
    is_at_stripe: bool = False
    """Whether Stripe sends events of it. It comes in three ways then: they are delivered at once; ``-unheard``, they
    are under way until something else delivers them; ``-doubled``, each notifies the workflows twice.
    """


@dataclass(frozen=True, slots=True)
class Events:
    """The events that can happen in a case, by name."""

    table: Mapping[str, Event]

    def possible(self, case: Case, where: Where, flow: Flow | None) -> tuple[str, ...]:
        """Those that could happen at this point of the run."""
        return tuple(self._possible(case, where, flow))

    async def happen(self, case: Case, name: str, flow: Flow | None) -> None:
        """Let one happen, if it still can."""
        known = name if name in self.table else base(name)
        case.happened[known] += 1
        event = self.table[known]
        if not event.is_possible(case):
            return
        await event.happen(case, flow)
        if event.is_at_stripe and not name.endswith(UNHEARD):
            await case.deliver()
        if name.endswith(DOUBLED):
            await case.notify_again()

    def _possible(self, case: Case, where: Where, flow: Flow | None) -> Iterator[str]:
        for name, event in self.table.items():
            if case.happened[name] or where not in event.where or not event.is_possible(case):
                continue
            if name == CRASH and flow is None:
                continue
            yield name
            if event.is_at_stripe:
                yield name + UNHEARD
                yield name + DOUBLED


def base(name: str) -> str:
    """The event without the way in which it is heard of."""
    return name.removesuffix(UNHEARD).removesuffix(DOUBLED)
