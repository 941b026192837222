"""What people can ask for a stuck step, when, and in which words the Web UI shows what they did."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from temporalio import workflow

from domain.stuck_steps import Decision, StepAnswer, StepOutcome
from workflows import web_ui
from workflows.attention import Attention
from workflows.stuck_step import Remedy, StuckStep

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def stuck() -> StuckStep:
    return StuckStep(Attention("order-1"))


def test_nothing_can_be_asked_for_a_step_that_is_not_stuck(stuck: StuckStep) -> None:
    for remedy in Remedy:
        with pytest.raises(ValueError, match=f"no step is parked or fails: there is nothing to {remedy}"):
            stuck.check(remedy)


def test_a_failing_step_can_be_retried_and_not_resolved(stuck: StuckStep) -> None:
    stuck.keep_trying("reserve")

    stuck.check(Remedy.RETRY)
    with pytest.raises(ValueError, match="step reserve is not parked"):
        stuck.check(Remedy.RESOLVE)


@pytest.mark.parametrize("resolvable", [True, False])
def test_a_parked_step_can_be_retried_and_resolved_if_a_person_can_do_its_work(
    stuck: StuckStep, resolvable: bool
) -> None:
    stuck.park("release", resolvable=resolvable)

    stuck.check(Remedy.RETRY)
    if resolvable:
        stuck.check(Remedy.RESOLVE)
    else:
        with pytest.raises(ValueError, match="step release cannot be resolved by hand"):
            stuck.check(Remedy.RESOLVE)


@pytest.mark.parametrize(
    ("decision", "answer", "words"),
    [
        (
            Decision(actor="anna", note="the address is corrected"),
            StepAnswer(step="reserve", outcome=StepOutcome.DONE),
            "2026-11-22 12:00:00 UTC: `retry` of step `reserve` by **anna** (the address is corrected): DONE",
        ),
        (
            Decision(actor="ben"),
            StepAnswer(step="release", outcome=StepOutcome.REFUSED, refusal="OUT_OF_STOCK", message="3 are left"),
            "2026-11-22 12:00:00 UTC: `retry` of step `release` by **ben**: REFUSED: OUT_OF_STOCK: 3 are left",
        ),
        (
            None,
            StepAnswer(step="mark", outcome=StepOutcome.FAILED, message="order service UNAVAILABLE"),
            (
                "2026-11-22 12:00:00 UTC: `retry` of step `mark` at Temporal, by nobody named: FAILED: order service "
                "UNAVAILABLE"
            ),
        ),
    ],
    ids=["named", "refused", "unnamed"],
)
def test_the_web_ui_says_who_did_what_and_why_and_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, decision: Decision | None, answer: StepAnswer, words: str
) -> None:
    monkeypatch.setattr(workflow, "now", lambda: AT)

    assert web_ui.describe_action(Remedy.RETRY, decision, answer) == words
