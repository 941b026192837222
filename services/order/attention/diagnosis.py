"""What is wrong with an order, refund or dispute, by what the tables and Temporal say of it: a pure function."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import WorkflowExecutionStatus

from domain.concerns import TASK_STEP, UNMOVED_STEP, WORKFLOW_STEP, ConcernKind
from domain.orders import OrderStatus
from runtime.on_call import Concern
from services.order.attention.model import OpenConcern, OpenOrder, WorkflowState

FAILED_TASKS: Final = 3
"""Attempts at a workflow task from which on it counts as failing: one may be lost with its worker."""
_MOST_WORDS: Final = 500
"""Characters of an error that are kept."""


def diagnose_workflow(
    kind: ConcernKind,
    subject_id: str,
    *,
    order_id: str,
    state: WorkflowState,
    known: Collection[OpenConcern],
    at: datetime,
) -> list[Concern]:
    """What keeps a workflow that has to run from running.

    Args:
        kind: what the workflow is of.
        subject_id: whose it is.
        order_id: about which order.
        state: what Temporal says of it.
        known: what is open of the subject already; of its failing steps they get the last error.
        at: now.
    """

    def concern(step: str, cause: str, *, attempts: int = 0, error: str | None = None) -> Concern:
        return Concern(
            kind=kind,
            subject_id=subject_id,
            step=step,
            order_id=order_id,
            cause=cause,
            since=at,
            attempts=attempts,
            last_error=error,
        )

    if not state.runs:
        return [concern(WORKFLOW_STEP, _lost(state))]
    concerns = [
        concern(each.step, f"fails: {_short(failing.error)}", attempts=failing.attempts, error=_short(failing.error))
        for each in known
        if (failing := state.failing.get(each.step)) is not None
    ]
    if state.task_error is not None and state.task_attempts >= FAILED_TASKS:
        error = _short(state.task_error)
        concerns.append(
            concern(TASK_STEP, f"its workflow's code fails: {error}", attempts=state.task_attempts, error=error)
        )
    return concerns


def diagnose_order(
    order: OpenOrder,
    state: WorkflowState,
    *,
    known: Collection[OpenConcern],
    patience: timedelta,
    at: datetime,
) -> list[Concern]:
    """What is wrong with an open order.

    Args:
        order: as its tables have it.
        state: what Temporal says of its saga.
        known: what is open of it already.
        patience: how long an order may stand where it is without a reason.
        at: now.
    """
    if order.status is OrderStatus.RECEIVED and state.status is None and order.stood < patience:
        return []  # it is being started
    concerns = diagnose_workflow(ConcernKind.ORDER, order.id, order_id=order.id, state=state, known=known, at=at)
    if not state.runs and order.start_error:
        return [replace(concerns[0], last_error=_short(order.start_error))]
    says_why = concerns or state.failing or any(each.step not in (UNMOVED_STEP, TASK_STEP) for each in known)
    # a step that is on its way raises attention itself, by the saga's own clock, which began a little later
    if says_why or not is_late(order, patience * 2 if state.is_trying else patience):
        return concerns
    stands = _stands(order)
    if state.task_attempts:
        cause, step = f"{stands}: no order worker takes up its workflow's task", TASK_STEP
    else:
        cause, step = f"{stands}, and its workflow waits; the Web UI says for what", UNMOVED_STEP
    return [
        Concern(
            kind=ConcernKind.ORDER,
            subject_id=order.id,
            step=step,
            order_id=order.id,
            cause=cause,
            since=at - order.stood,
        )
    ]


def diagnose_blindly(order: OpenOrder, problem: str, *, patience: timedelta, at: datetime) -> list[Concern]:
    """What is wrong with an open order while Temporal cannot be asked."""
    if not is_late(order, patience):
        return []
    return [
        Concern(
            kind=ConcernKind.ORDER,
            subject_id=order.id,
            step=UNMOVED_STEP,
            order_id=order.id,
            cause=f"{_stands(order)}, and its workflow cannot be asked",
            since=at - order.stood,
            last_error=_short(problem),
        )
    ]


def is_late(order: OpenOrder, patience: timedelta) -> bool:
    """Whether it stands where it is for longer than it should."""
    if order.overdue is None:
        return order.stood > patience
    return order.overdue > patience


def _stands(order: OpenOrder) -> str:
    if order.overdue is None:
        return "it is still RECEIVED"
    return "it is still PENDING, past its deadline"


def _lost(state: WorkflowState) -> str:
    if state.status is None:
        return "its workflow is gone: Temporal knows of none"
    if state.status is WorkflowExecutionStatus.COMPLETED:
        return "its workflow ended by itself, and the tables do not show it: one of the databases is not up to date"
    ending = state.ending or state.status.name.lower().replace("_", " ")
    return f"its workflow was ended from outside ({_short(ending)})"


def by_subject(concerns: Collection[OpenConcern]) -> Mapping[str, list[OpenConcern]]:
    """Concerns of each subject."""
    found: dict[str, list[OpenConcern]] = {}
    for concern in concerns:
        found.setdefault(concern.subject_id, []).append(concern)
    return found


def _short(error: str) -> str:
    words = " ".join(error.split())
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"
