"""Slots for local attempts that ask Stripe: nobody waits for one, and a slow Stripe leaves one."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from temporalio.exceptions import ApplicationError

from activities.local_slots import LocalSlots


def attempt(slots: LocalSlots, error: BaseException | None = None) -> bool:
    """One attempt that ends so; whether it had a slot."""
    try:
        with slots.take() as has_slot:
            if error is not None and has_slot:
                raise error
            return has_slot
    except type(error or Exception()):
        return True


def test_as_many_have_a_slot_as_there_are_and_nobody_waits() -> None:
    slots = LocalSlots(3)

    with ExitStack() as stack:
        assert [stack.enter_context(slots.take()) for _ in range(5)] == [True, True, True, False, False]

    assert attempt(slots)


@pytest.mark.parametrize("error", [TimeoutError(), ApplicationError("away"), KeyboardInterrupt()], ids=repr)
def test_attempts_without_an_answer_leave_one_slot(error: BaseException) -> None:
    slots, rooms = LocalSlots(16), []

    for _ in range(6):
        attempt(slots, error)
        rooms.append(slots.room)

    assert rooms == [8, 4, 2, 1, 1, 1]


def test_answers_give_the_slots_back_one_by_one_and_a_refusal_is_an_answer() -> None:
    slots = LocalSlots(4)
    attempt(slots, TimeoutError())
    attempt(slots, TimeoutError())

    attempt(slots)
    attempt(slots, ApplicationError("no", non_retryable=True))
    assert slots.room == 3
    for _ in range(5):
        attempt(slots)

    assert slots.room == 4


def test_who_has_no_slot_says_nothing_of_stripe() -> None:
    slots = LocalSlots(2)
    attempt(slots, TimeoutError())
    with slots.take():
        for _ in range(3):
            with slots.take() as has_slot:
                assert not has_slot

        assert slots.room == 1
