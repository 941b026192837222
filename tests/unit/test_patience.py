"""The audit's patience: what fails for a moment is asked again, what is refused is not, and nothing for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.audit import patience
from cli.audit.patience import Unreadable, patiently
from runtime.backoff import Backoff
from runtime.refusal import Unavailable


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_BACKOFF", Backoff(first=0.001, longest=0.001))


class Asked:
    """Fails in these ways, one after the other, and then answers."""

    def __init__(self, *failures: Exception) -> None:
        self._failures: Iterator[Exception] = iter(failures)
        self.times = 0

    async def __call__(self) -> str:
        self.times += 1
        for failure in self._failures:
            raise failure
        return "an answer"


async def test_what_fails_for_a_moment_is_asked_again() -> None:
    asked = Asked(Unavailable("away"), Unavailable("still away"))

    assert (await patiently(asked), asked.times) == ("an answer", 3)


async def test_what_is_refused_is_asked_once() -> None:
    asked = Asked(Unreadable("no such namespace"))

    with pytest.raises(Unreadable, match="no such namespace"):
        await patiently(asked)
    assert asked.times == 1


async def test_nothing_is_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.02)
    asked = Asked(*(Unavailable(f"attempt {number}") for number in range(1_000)))

    with pytest.raises(Unavailable, match="attempt"):
        await patiently(asked)
    assert 1 < asked.times < 1_000


async def test_a_defect_is_no_absence() -> None:
    with pytest.raises(KeyError):
        await patiently(Asked(KeyError("order")))
