"""What is remembered of sessions that ended, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runtime.ended_sessions import EndedSessions, NewlyEnded
from runtime.refusal import Unavailable

START = datetime(2026, 11, 30, tzinfo=UTC)


class Told:
    """What the user service answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[datetime | None] = []
        self.answers: list[list[str] | Unavailable] = []
        self.time = 0.0

    async def ask(self, since: datetime | None) -> NewlyEnded:
        self.asked.append(since)
        answer = self.answers.pop(0)
        if isinstance(answer, Unavailable):
            raise answer
        return NewlyEnded(session_ids=answer, until=START + timedelta(seconds=self.time), token_seconds=900)


async def test_each_question_goes_on_where_the_last_answer_ended() -> None:
    told = Told()
    told.answers = [["a"], ["b"], []]
    ended = EndedSessions(told.ask, clock=lambda: told.time)

    for told.time in (0, 20, 40):
        await ended.catch_up()

    assert told.asked == [None, START, START + timedelta(seconds=20)]
    assert ("a" in ended, "b" in ended, "c" in ended, "" in ended) == (True, True, False, False)


async def test_a_session_is_forgotten_once_no_token_of_it_can_live() -> None:
    told = Told()
    told.answers = [["a"], [], []]
    ended = EndedSessions(told.ask, clock=lambda: told.time)
    await ended.catch_up()

    told.time = 900
    await ended.catch_up()
    assert "a" in ended
    told.time = 900 + 121
    await ended.catch_up()
    assert "a" not in ended


async def test_what_is_known_stays_while_nobody_answers() -> None:
    told = Told()
    told.answers = [["a"], Unavailable("away"), ["b"]]
    ended = EndedSessions(told.ask, clock=lambda: told.time)
    await ended.catch_up()

    with pytest.raises(Unavailable):
        await ended.catch_up()

    assert "a" in ended
    await ended.catch_up()
    assert told.asked == [None, START, START]
