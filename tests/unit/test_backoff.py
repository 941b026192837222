"""Delays between attempts."""

from __future__ import annotations

from datetime import timedelta

from runtime.backoff import Backoff, Retries


def test_each_delay_is_twice_the_one_before_up_to_the_limit() -> None:
    backoff = Backoff(first=0.5, longest=3)

    assert [backoff.delay(attempt) for attempt in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert backoff.timedelta(2) == timedelta(seconds=1)


def test_an_attempt_that_was_counted_for_weeks_still_has_a_delay() -> None:
    assert Backoff(first=0.1, longest=5).delay(10**9) == 5


def test_a_success_begins_again_with_the_first_delay() -> None:
    retries = Retries(Backoff(first=1, longest=60))

    assert [retries.failed(), retries.failed(), retries.failed()] == [1, 2, 4]
    retries.succeeded()
    assert retries.failed() == 1
