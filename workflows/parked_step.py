"""A step that waits for a person's decision, because it was refused for a reason that its workflow has no answer to."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from workflows.attention import Attention


class Decision(StrEnum):
    """What a person decided about a parked step; the values are the names of the updates."""

    RETRY = "retry"
    RESOLVE = "resolve"


class ParkedStep:
    """Parks one step of a workflow at a time: it holds attention until a person decides.

    Args:
        attention: the workflow's.
    """

    def __init__(self, attention: Attention) -> None:
        self._attention = attention
        self._step: str | None = None
        self._resolvable = False
        self._decision: Decision | None = None

    async def wait(self, step: str, note: str, *, resolvable: bool, or_until: Callable[[], bool]) -> Decision | None:
        """Park the step until there is a decision.

        Args:
            step: its name.
            note: the cause, in words for people.
            resolvable: whether its work can be done by hand.
            or_until: a condition that ends the parking too.

        Returns:
            The decision, or None if the condition came first.
        """
        self._step, self._resolvable, self._decision = step, resolvable, None
        await self._attention.hold(step, note, until=lambda: self._decision is not None or or_until())
        self._step = None
        return self._decision

    def check(self, decision: Decision) -> None:
        """Check that the decision can be made now.

        Raises:
            ValueError: no step is parked, or its work cannot be done by hand.
        """
        if self._step is None:
            raise ValueError(f"no step is parked: there is nothing to {decision}")
        if decision is Decision.RESOLVE and not self._resolvable:
            raise ValueError(f"step {self._step} cannot be resolved by hand: fix the cause and send retry")

    def decide(self, decision: Decision) -> str:
        """Make the decision; answers with the step's name."""
        self._decision = decision
        return self._step or ""
