"""What was found when something was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it is.

    Attributes:
        OK: as it has to be.
        WRONG: somebody has to mend it.
        ADVICE: it works, and could be safer.
        SKIPPED: there is nothing to look at, or no way to.
    """

    OK = "ok"
    WRONG = "wrong"
    ADVICE = "advice"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: a part, or the installation as a whole; what was looked at; how it is, and why if it is not ok."""

    part: str
    check: str
    state: State
    text: str = ""


def found(part: str, check: str, problem: str | None) -> Finding:
    """A finding: wrong with a problem, ok without."""
    return Finding(part, check, State.OK) if problem is None else Finding(part, check, State.WRONG, str(problem))
