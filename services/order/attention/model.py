"""What the list of concerns, the watcher and the desk work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import WorkflowExecutionStatus

from domain.concerns import ConcernKind
from domain.orders import OrderStatus
from runtime.rows import Value
from services.order.tables import ConcernColumns

SAGA: Final = "saga"
"""Raises a concern, or clears it: the workflow itself."""
WATCHER: Final = "watcher"
"""Raises a concern, or clears it: who looks at all that is open; with the settings' leave it repairs, too."""
TEMPORAL: Final = "temporal"
"""Subject of a concern about Temporal, which is no part of ours."""


class OpenConcern(Value, ConcernColumns):
    """Something that needs a person."""

    id: int
    raised_by: str


class PastConcern(Value, ConcernColumns):
    """Something of an order that needs a person, or did."""

    raised_by: str
    raised_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None


class Action(Value):
    """What an operator did."""

    at: datetime
    actor: str
    action: str
    kind: ConcernKind
    subject_id: str
    order_id: str | None
    note: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which concerns are listed: of a kind, a step, a subject, or about an order; None for any. Behind `after`."""

    kind: ConcernKind | None = None
    step: str | None = None
    subject_id: str | None = None
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order that a workflow has to move on; times by PostgreSQL's own clock.

    Attributes:
        stood: for how long it has been where it is.
        overdue: for how long its payment deadline has passed; below zero until then, None while it is RECEIVED.
        start_error: why its saga could not be started, the last time.
    """

    id: str
    status: OrderStatus
    stood: timedelta
    overdue: timedelta | None
    start_error: str | None


@dataclass(frozen=True, slots=True)
class FailingStep:
    """A step that Temporal runs again and again."""

    attempts: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowState:
    """What Temporal says of a workflow.

    Attributes:
        status: of its last run; None where Temporal knows of none.
        ending: how that ended, by whom and why, where Temporal says more of it than the status.
        failing: the steps that fail, by their names.
        is_trying: whether a step is on its way, or waits to be tried again.
        task_attempts: at the workflow task that waits or runs; 0 where there is none.
        task_error: why the task fails, if it does.
        task_waits_since: since when no worker has taken it up; None where one has, or there is none.
    """

    status: WorkflowExecutionStatus | None
    ending: str | None = None
    failing: Mapping[str, FailingStep] = field(default_factory=dict)
    is_trying: bool = False
    task_attempts: int = 0
    task_error: str | None = None
    task_waits_since: datetime | None = None

    @property
    def runs(self) -> bool:
        """Whether it is there to move its order on."""
        return self.status is WorkflowExecutionStatus.RUNNING
