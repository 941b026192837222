"""The mutations that have to be caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

MUTATIONS: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a back-off that does not grow",
        file="runtime/backoff.py",
        source="return min(self.first * 2.0 ** min(max(attempt - 1, 0), _MOST_DOUBLINGS), self.longest)",
        mutated="return self.first",
        tests=["tests/unit/test_backoff.py"],
    ),
    Mutation(
        breaks="nobody is woken when notifications may have been missed",
        file="runtime/wakeups.py",
        source="woken = [event for events in self._waiting.values() for event in events]",
        mutated="woken = []",
        tests=["tests/unit/test_wakeups.py"],
    ),
)
