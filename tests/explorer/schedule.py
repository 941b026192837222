"""The language of schedules: what an order looks like, which steps go wrong and how, and what happens when.

A schedule is a line of words, for example ``visa reserve:lost paid@open_payment.after raw@wait#2``:

- the first word, if it has neither ``:`` nor ``@``, is the order's shape (`tests.explorer.shapes`), else ``later``;
- ``reserve:lost`` is a fault of a step's first call, ``reserve#2:lost`` of its second (`tests.explorer.faults`);
- ``paid@open_payment.after`` is an event that arrives at a point of the run (`tests.explorer.events`): ``before`` a
  step, ``inside`` it (between its look at Stripe and what follows), ``after`` it, or ``wait``, where the saga waits for
  its customer. ``#2`` is the second time that the run comes to the point.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_SHAPE = "later"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One call of a step goes wrong; `call` is the step's name, with its number from the second on."""

    call: str
    kind: str

    def __str__(self) -> str:
        return f"{self.call}:{self.kind}"


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """Something happens at a point of the run."""

    event: str
    point: str

    def __str__(self) -> str:
        return f"{self.event}@{self.point}"


Move = Fault | Arrival


@dataclass(frozen=True, slots=True)
class Schedule:
    """One case to be run."""

    shape: str
    moves: tuple[Move, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.shape, *map(str, self.moves)])

    def then(self, move: Move) -> Schedule:
        """The same with one more move."""
        return Schedule(self.shape, (*self.moves, move))


def parse(text: str) -> Schedule:
    """The schedule that a line describes.

    Raises:
        ValueError: a word is none of the language.
    """
    shape, moves = DEFAULT_SHAPE, list[Move]()
    for number, word in enumerate(text.split()):
        if "@" in word:
            event, _, point = word.partition("@")
            moves.append(Arrival(event, point))
        elif ":" in word:
            call, _, kind = word.partition(":")
            moves.append(Fault(call, kind))
        elif number == 0:
            shape = word
        else:
            raise ValueError(f"{word!r} is neither step:fault nor event@point")
    return Schedule(shape, tuple(moves))


def numbered(name: str, count: int) -> str:
    """The name of the count-th time that something happens."""
    return name if count == 1 else f"{name}#{count}"
