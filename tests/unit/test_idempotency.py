"""What requests with one Idempotency-Key are answered, and how long each waits for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.ids import new_id
from runtime.idempotency import SETTLING, FirstRequest, IdempotencyKeyInUse, IdempotentRequest
from tests.support.in_call import in_call

CAME = datetime(2026, 3, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return CAME + timedelta(seconds=seconds)


def first_of(*, wait: float, replayed: bool) -> FirstRequest:
    """A request that came and waited so long, for itself or for a duplicate."""
    request = IdempotentRequest.of({}, user_id=new_id(), route="POST /v1/orders", key="key", wait=wait, at=CAME)
    first = request.as_first(new_id())
    return FirstRequest(key="key", subject_id=first.subject_id, answer_by=first.answer_by, replayed=replayed)


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize(
    ("wait", "outcome_after", "is_answer"),
    [
        (2, -60, True),  # it was there before the request came
        (2, 1, True),
        (2, 2 - SETTLING, True),
        (2, 2 - SETTLING / 2, False),  # the first request may not have seen it
        (2, 3, False),
        (0, 0, True),
        (0, 0.001, False),
    ],
)
def test_an_outcome_is_the_answer_of_every_request_if_it_came_about_while_the_first_one_waited(
    *, wait: float, outcome_after: float, is_answer: bool, replayed: bool
) -> None:
    first = first_of(wait=wait, replayed=replayed)

    assert first.answered_with(after(outcome_after), at=after(60)) is is_answer


def test_without_an_outcome_the_first_request_is_accepted_when_its_wait_is_over() -> None:
    assert first_of(wait=2, replayed=False).answered_with(None, at=after(2)) is False


def test_a_duplicate_is_accepted_only_once_it_is_known_that_the_first_request_was() -> None:
    first = first_of(wait=2, replayed=True)

    with pytest.raises(IdempotencyKeyInUse):
        first.answered_with(None, at=after(1))
    assert first.answered_with(None, at=after(2)) is False


def test_the_first_request_waits_as_long_as_it_said() -> None:
    assert first_of(wait=2, replayed=False).seconds_to_wait(2, at=after(0.5)) == 2


@pytest.mark.parametrize("wait", [0, 20])
@pytest.mark.parametrize(("came_after", "seconds"), [(0.5, 1.5), (2, 0), (60, 0)])
def test_a_duplicate_waits_as_long_as_the_first_request_whatever_it_said(
    wait: float, came_after: float, seconds: float
) -> None:
    assert first_of(wait=2, replayed=True).seconds_to_wait(wait, at=after(came_after)) == pytest.approx(seconds)


def test_a_duplicate_waits_no_longer_than_its_caller_does() -> None:
    with in_call(5):
        assert 4 < first_of(wait=20, replayed=True).seconds_to_wait(0, at=CAME) < 5
