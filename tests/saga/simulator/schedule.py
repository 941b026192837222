"""The language of schedules: how a case begins, which calls go wrong and how, and what happens when.

A schedule is a line of words, for example ``visa reserve:lost paid@open_payment.confirm_intent.after raw@wait#2``:

- the first word, if it has neither ``:`` nor ``@``, is the case's beginning (`cases`), else ``later``;
- ``reserve:lost`` is a fault of a step's first call, ``reserve#2:lost`` of its second (`faults`), and
  ``open_payment.confirm_intent:429`` one of a call of Stripe in it;
- ``paid@open_payment.before`` is an event that happens at a point of the run (`events`): ``before`` or ``after`` a step
  or a call of Stripe in it, ``wait``, where the saga waits for its customer, ``attention``, when attention was raised
  for a step, and ``end``, where nothing is under way any more. ``#2`` is the second time that the run comes there.

The order's own steps have their bare names; those of its first refund begin with ``r1.``, of a dispute with ``d1.``.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_BEGINNING = "later"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One call goes wrong; `call` is its name, with its number from the second on."""

    call: str
    kind: str

    @property
    def place(self) -> str:
        """Where in a run it is."""
        return self.call

    def __str__(self) -> str:
        return f"{self.call}:{self.kind}"


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """Something happens at a point of the run."""

    event: str
    point: str

    @property
    def place(self) -> str:
        """Where in a run it is."""
        return self.point

    def __str__(self) -> str:
        return f"{self.event}@{self.point}"


Move = Fault | Arrival


@dataclass(frozen=True, slots=True)
class Schedule:
    """One case to be run."""

    beginning: str
    moves: tuple[Move, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.beginning, *map(str, self.moves)])

    def then(self, move: Move) -> Schedule:
        """The same with one more move."""
        return Schedule(self.beginning, (*self.moves, move))


def parse(text: str) -> Schedule:
    """The schedule that a line describes.

    Raises:
        ValueError: a word is none of the language.
    """
    beginning, moves = DEFAULT_BEGINNING, list[Move]()
    for number, word in enumerate(text.split()):
        if "@" in word:
            event, _, point = word.partition("@")
            moves.append(Arrival(event, point))
        elif ":" in word:
            call, _, kind = word.partition(":")
            moves.append(Fault(call, kind))
        elif number == 0:
            beginning = word
        else:
            raise ValueError(f"{word!r} is neither call:fault nor event@point")
    return Schedule(beginning, tuple(moves))


def numbered(name: str, count: int) -> str:
    """The name of the count-th time that something happens."""
    return name if count == 1 else f"{name}#{count}"
