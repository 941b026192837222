"""How long product names are kept, and how many."""

from __future__ import annotations

import pytest

from services.notification import recent_names
from services.notification.recent_names import NAME_SECONDS, RecentNames


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_name_is_known_for_its_time_and_then_forgotten() -> None:
    clock = Clock()
    names = RecentNames(clock=clock)
    names.put("cup", "Cup")

    clock.now = NAME_SECONDS - 0.001
    before = names.get("cup")
    clock.now = NAME_SECONDS

    assert (before, names.get("cup")) == ("Cup", None)


def test_reading_a_name_does_not_keep_it_longer_and_putting_it_again_does() -> None:
    clock = Clock()
    names = RecentNames(clock=clock)
    for product_id in ("cup", "mug"):
        names.put(product_id, product_id.title())

    clock.now = NAME_SECONDS / 2
    names.get("cup")
    names.put("mug", "Mug, blue")
    clock.now = NAME_SECONDS

    assert (names.get("cup"), names.get("mug")) == (None, "Mug, blue")


def test_the_oldest_name_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_names, "MAX_NAMES", 2)
    names = RecentNames(clock=Clock())
    for product_id in ("cup", "mug", "cup", "pot"):
        names.put(product_id, product_id.title())

    assert [names.get(product_id) for product_id in ("cup", "mug", "pot")] == ["Cup", None, "Pot"]
