"""What becomes of a concern by itself, and what a person can do about it, in words and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.concerns import (
    AWAY_STEP,
    CANCEL_STEP,
    DEAD_LETTERS_STEP,
    DISPUTE_STEP,
    FLAGGED_STEP,
    OUTBOX_STEP,
    TASK_STEP,
    UNMOVED_STEP,
    WORKFLOW_STEP,
    ConcernKind,
)
from runtime.identity import Part
from services.order.attention.model import TEMPORAL, OpenConcern

_FAILING: Final = ("has failed", "fails")
"""How the cause of a step begins that is tried again by itself, as the saga and the watcher word it."""
_NOT_REFUNDED: Final = ("the refund failed", "the refund was canceled")
"""How the cause of a refund begins that did not reach its customer."""
_NOTHING: Final = "nothing: it waits for a person"
_ASKS: Final[Mapping[str, str]] = {TEMPORAL: Part.ORDER.value}
"""Which part's doctor asks what is no part of ours."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What happens if nobody does anything, and what a person can do."""

    by_itself: str
    to_do: str


def advise(concern: OpenConcern, *, repairs_itself: bool = False) -> Advice:
    """Advice about a concern; `repairs_itself` says whether the watcher starts lost sagas again."""
    match concern.kind:
        case ConcernKind.ORDER | ConcernKind.REFUND | ConcernKind.DISPUTE:
            return _about_workflow(concern, repairs_itself=repairs_itself)
        case ConcernKind.EVENT:
            return _about_event(concern)
        case ConcernKind.MAIL:
            return _about_mail(concern)
        case ConcernKind.PART:
            return _about_part(concern)


def _about_workflow(concern: OpenConcern, *, repairs_itself: bool) -> Advice:
    subject = concern.subject_id
    if concern.step == WORKFLOW_STEP and concern.kind is not ConcernKind.ORDER:
        return Advice("it is started again within a minute", "ordersaga doctor payment, if it stays")
    if concern.step == WORKFLOW_STEP:
        by_itself = "it is started again" if repairs_itself else "nothing: money and stock stay as they are"
        return Advice(by_itself, f"ordersaga repair {subject}")
    if concern.step == TASK_STEP and concern.attempts:
        return Advice(
            "its task is tried again, with whatever order workers run",
            "roll back, or deploy the fix: docs/runbook.md, “A defect in the workflow code”",
        )
    if concern.step == TASK_STEP:
        return Advice(
            "it goes on when an order worker is there",
            "start an order worker, or restart one that is frozen; ordersaga doctor order-worker says what it lacks",
        )
    if concern.step == UNMOVED_STEP:
        return Advice("nothing that is known", f"ordersaga order {subject}")
    if concern.step == CANCEL_STEP:
        return Advice("its saga is asked again", f"ordersaga order {subject}")
    if concern.step == DISPUTE_STEP:
        return Advice("it ends when the bank has decided", "respond to it in Stripe's dashboard")
    if concern.kind is ConcernKind.REFUND and concern.cause.startswith(_NOT_REFUNDED):
        return Advice(
            _NOTHING,
            f"ordersaga retry {subject} makes another refund; or pay it out by other means, then ordersaga resolve "
            f"{subject}",
        )
    if concern.attempts or concern.cause.startswith(_FAILING):
        return Advice(
            "the step is tried again, every 30 s at most",
            f"mend the cause; ordersaga retry {subject} spares the wait",
        )
    return Advice(
        _NOTHING,
        f"mend the cause, then ordersaga retry {subject}; or do its work by hand, then ordersaga resolve {subject}",
    )


def _about_event(concern: OpenConcern) -> Advice:
    subject = concern.subject_id
    if concern.step == FLAGGED_STEP:
        return Advice(_NOTHING, f"mend the cause, then ordersaga retry {subject}; or ordersaga resolve {subject}")
    return Advice("it is tried again, every minute at most", f"mend the cause; ordersaga retry {subject}")


def _about_mail(concern: OpenConcern) -> Advice:
    subject = concern.subject_id
    if concern.step == FLAGGED_STEP:
        return Advice(_NOTHING, f"ordersaga retry {subject} sends it again; ordersaga resolve {subject} leaves it")
    return Advice("it is tried again, every 5 minutes at most", f"mend the cause; ordersaga retry {subject}")


def _about_part(concern: OpenConcern) -> Advice:
    part = concern.subject_id
    if concern.step.startswith(OUTBOX_STEP):
        return Advice("the relay goes on where it stopped", "ordersaga doctor relay")
    if concern.step == DEAD_LETTERS_STEP:
        return Advice(_NOTHING, "ordersaga dlq list")
    if concern.step == AWAY_STEP:
        lacks = f"ordersaga doctor {_ASKS.get(part, part)}"
        return Advice(
            "it is asked again; what waits for it goes on when it is back",
            f"see that it runs, and restart it if it is frozen; {lacks} says what is away",
        )
    return Advice("it goes on when the cause is gone", f"ordersaga doctor {part}")
