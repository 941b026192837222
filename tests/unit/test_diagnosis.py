"""What is wrong with an open order, by what its tables and Temporal say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus as Status

from domain.concerns import TASK_STEP, UNMOVED_STEP, WORKFLOW_STEP, ConcernKind
from domain.orders import OrderStatus
from runtime.on_call import Concern
from services.order.attention.diagnosis import diagnose_blindly, diagnose_order
from services.order.attention.model import FailingStep, OpenConcern, OpenOrder, WorkflowState

NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
PATIENCE = timedelta(minutes=1)
LONG, SHORT = timedelta(minutes=2), timedelta(seconds=10)
RUNS = WorkflowState(status=Status.RUNNING)


def received(stood: timedelta, *, start_error: str | None = None) -> OpenOrder:
    return OpenOrder(id="o1", status=OrderStatus.RECEIVED, stood=stood, overdue=None, start_error=start_error)


def pending(overdue: timedelta) -> OpenOrder:
    return OpenOrder(id="o1", status=OrderStatus.PENDING, stood=LONG, overdue=overdue, start_error=None)


def known(step: str) -> OpenConcern:
    return OpenConcern(
        id=1, kind=ConcernKind.ORDER, subject_id="o1", step=step, cause="said before", since=NOW, raised_by="saga"
    )


def diagnose(order: OpenOrder, state: WorkflowState, *concerns: OpenConcern) -> list[Concern]:
    return diagnose_order(order, state, known=concerns, patience=PATIENCE, at=NOW)


@pytest.mark.parametrize("order", [received(SHORT), pending(-LONG), pending(SHORT)])
def test_an_order_whose_saga_runs_and_that_is_not_late_needs_nobody(order: OpenOrder) -> None:
    assert diagnose(order, RUNS) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "gone"),
        (Status.TERMINATED, "terminated"),
        (Status.FAILED, "failed"),
        (Status.TIMED_OUT, "timed out"),
        (Status.CANCELED, "canceled"),
        (Status.COMPLETED, "ended by itself"),
    ],
)
def test_a_workflow_that_does_not_run_is_called_for_at_once(status: Status | None, words: str) -> None:
    [found] = diagnose(pending(-LONG), WorkflowState(status=status))

    assert (found.step, words in found.cause) == (WORKFLOW_STEP, True)


def test_who_ended_a_workflow_and_why_is_said() -> None:
    ended = WorkflowState(status=Status.TERMINATED, ending="terminated by ada@host: wrong window")

    [found] = diagnose(pending(-LONG), ended)

    assert found.cause == "its workflow was ended from outside (terminated by ada@host: wrong window)"


def test_a_new_order_gets_time_to_have_its_workflow_started() -> None:
    assert diagnose(received(SHORT), WorkflowState(status=None)) == []

    [found] = diagnose(received(LONG, start_error="Temporal: UNAVAILABLE"), WorkflowState(status=None))
    assert (found.step, found.last_error) == (WORKFLOW_STEP, "Temporal: UNAVAILABLE")


def test_a_task_that_fails_again_and_again_is_a_defect_and_one_that_was_lost_once_is_none() -> None:
    fails = WorkflowState(status=Status.RUNNING, task_attempts=5, task_error="KeyError: 'lines'")
    was_lost = WorkflowState(status=Status.RUNNING, task_attempts=2, task_error="KeyError: 'lines'")

    [found] = diagnose(pending(-LONG), fails)

    assert (found.step, found.attempts) == (TASK_STEP, 5)
    assert "KeyError" in found.cause
    assert diagnose(pending(-LONG), was_lost) == []


@pytest.mark.parametrize(("order", "words"), [(received(LONG), "RECEIVED"), (pending(LONG), "past its deadline")])
def test_an_order_that_is_late_says_whether_anybody_works_at_it(order: OpenOrder, words: str) -> None:
    [waits] = diagnose(order, RUNS)
    [nobody] = diagnose(order, WorkflowState(status=Status.RUNNING, task_attempts=1))

    assert (waits.step, words in waits.cause) == (UNMOVED_STEP, True)
    assert (nobody.step, "no order worker" in nobody.cause) == (TASK_STEP, True)


def test_a_late_order_whose_saga_said_why_gets_the_last_error_of_that_step_and_nothing_else() -> None:
    failing = WorkflowState(
        status=Status.RUNNING, failing={"reserve": FailingStep(7, "the inventory service: UNAVAILABLE")}
    )

    [found] = diagnose(received(LONG), failing, known("reserve"))

    assert (found.step, found.attempts) == ("reserve", 7)
    assert "UNAVAILABLE" in found.cause
    assert diagnose(received(LONG), failing) == []
    assert diagnose(received(LONG), RUNS, known("reserve")) == []


def test_while_temporal_cannot_be_asked_late_orders_are_called_for_all_the_same() -> None:
    [found] = diagnose_blindly(received(LONG), "Temporal: no connection", patience=PATIENCE, at=NOW)

    assert (found.step, found.last_error) == (UNMOVED_STEP, "Temporal: no connection")
    assert diagnose_blindly(received(SHORT), "Temporal: no connection", patience=PATIENCE, at=NOW) == []
