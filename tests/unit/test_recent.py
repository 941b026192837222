"""How long what was learnt or written a moment ago is kept, and how much of it."""

from __future__ import annotations

from runtime.recent import Recent


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_known_for_its_time_and_then_forgotten() -> None:
    clock = Clock()
    names = Recent[str](seconds=60, most=10, clock=clock)
    names.put("cup", "Cup")

    clock.now = 59.999
    before = names.get("cup")
    clock.now = 60

    assert (before, names.get("cup")) == ("Cup", None)


def test_reading_a_value_does_not_keep_it_longer_and_putting_it_again_does() -> None:
    clock = Clock()
    names = Recent[str](seconds=60, most=10, clock=clock)
    for key in ("cup", "mug"):
        names.put(key, key.title())

    clock.now = 30
    names.get("cup")
    names.put("mug", "Mug, blue")
    clock.now = 60

    assert (names.get("cup"), names.get("mug")) == (None, "Mug, blue")


def test_the_oldest_value_makes_room() -> None:
    names = Recent[str](seconds=60, most=2, clock=Clock())
    for key in ("cup", "mug", "cup", "pot"):
        names.put(key, key.title())

    assert [names.get(key) for key in ("cup", "mug", "pot")] == ["Cup", None, "Pot"]


def test_what_is_forgotten_is_not_known_any_more() -> None:
    names = Recent[str](seconds=60, most=2, clock=Clock())
    names.put("cup", "Cup")

    names.forget("cup")
    names.forget("pot")

    assert names.get("cup") is None
