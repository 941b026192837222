"""Defects that the simulator must find, each in a small part of the space."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Final

from tests.saga.simulator import broken_services, broken_workflows
from tests.saga.simulator.case import Outcome
from tests.saga.simulator.schedule import Move, Schedule
from tests.saga.simulator.simulator import REAL_WORKFLOWS, Simulator, Workflows
from tests.saga.simulator.space import longer

BATCH: Final = 30
"""Cases that are run before it is looked whether one of them broke a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A defect, and where it is looked for: one beginning and at most two moves of a few kinds."""

    found_by: str
    """What is said of the rule that it breaks."""
    beginning: str
    moves: Sequence[str] = ()
    """Patterns of the moves that are made."""
    workflows: Workflows = REAL_WORKFLOWS
    service: Callable[[], AbstractContextManager[Any]] = nullcontext
    """What breaks a service."""

    async def run(self, simulator: Simulator, schedules: Sequence[Schedule]) -> list[Outcome]:
        """Run these schedules with the defect."""
        return await simulator.run(schedules, workflows=self.workflows, mutation=self.service)

    async def search(self, simulator: Simulator) -> list[Outcome]:
        """Run all of the part, or what was run of it when the first rule was broken."""
        ran: list[Outcome] = []
        waiting = deque([Schedule(self.beginning)])
        while waiting and not any(outcome.breaches for outcome in ran):
            outcomes = await self.run(simulator, [waiting.popleft() for _ in range(min(BATCH, len(waiting)))])
            ran.extend(outcomes)
            waiting.extend(
                schedule
                for outcome in outcomes
                for schedule in longer(outcome)
                if len(schedule.moves) <= 2 and self._is_made(schedule.moves[-1])
            )
        return ran

    def _is_made(self, move: Move) -> bool:
        return any(fnmatch(str(move), pattern) for pattern in self.moves)


def _order(saga: type) -> Workflows:
    return Workflows(order=saga)


def _refund(saga: type) -> Workflows:
    return Workflows(refund=saga)


MUTATIONS: Final[Mapping[str, Mutation]] = {
    "undo registered after its step": Mutation(
        workflows=_order(broken_workflows.UndoRegisteredAfterItsStep),
        beginning="later",
        moves=("reserve:lost", "raw@*"),
        found_by="CANCELLED with a reservation ACTIVE",
    ),
    "no shield": Mutation(
        workflows=_order(broken_workflows.NoShield),
        beginning="later",
        moves=("void_payment:error", "raw@*"),
        found_by="the workflow is closed, the order PENDING",
    ),
    "single shield": Mutation(
        workflows=_order(broken_workflows.SingleShield),
        beginning="later",
        moves=("void_payment:error", "raw@*"),
        found_by="the workflow is closed, the order PENDING",
    ),
    "except Exception": Mutation(
        workflows=_order(broken_workflows.ExceptException),
        beginning="later",
        moves=("raw@*",),
        found_by="the workflow is closed, the order PENDING",
    ),
    "no tombstone": Mutation(
        service=broken_services.no_tombstone,
        beginning="later",
        moves=("quote:refuse=*",),
        found_by="something late changed",
    ),
    "no re-read at the deadline": Mutation(
        workflows=_order(broken_workflows.NoRereadAtTheDeadline),
        beginning="later",
        moves=("paid-unheard@*",),
        found_by="PAYMENT_TIMEOUT, although the money had come",
    ),
    "release after commit": Mutation(
        workflows=_order(broken_workflows.ReleaseAfterCommit),
        service=broken_services.sold_is_released,
        beginning="visa",
        found_by="PAID without a committed reservation",
    ),
    "refund by its saga and by the inbox": Mutation(
        service=broken_services.refunded_by_the_inbox_too,
        beginning="visa",
        moves=("unsold@*",),
        found_by="only Stripe kept a second refund from being made",
    ),
    "mark before undo": Mutation(
        workflows=_order(broken_workflows.MarkBeforeUndo),
        beginning="later",
        found_by="when it closed: 2: FAILED with a reservation ACTIVE",
    ),
    "signal trusted for the amount": Mutation(
        workflows=_order(broken_workflows.SignalTrustedForTheAmount),
        beginning="later",
        moves=("mispaid@*",),
        found_by="PAID, but received 1500 of 2000",
    ),
    "attempt counted at each look": Mutation(
        service=broken_services.attempts_counted_at_each_look,
        beginning="declined",
        moves=("declined@*",),
        found_by="PAYMENT_DECLINED after 2 failed attempts",
    ),
    "cancel after the pivot": Mutation(
        workflows=_order(broken_workflows.CancelAfterThePivot),
        beginning="visa",
        moves=("commit:error", "raw@*"),
        found_by="past the pivot",
    ),
    "refused cancel taken for done": Mutation(
        service=broken_services.refused_cancel_taken_for_done,
        beginning="later",
        moves=("paid-unheard@*cancel_intent.before",),
        found_by="PAYMENT_TIMEOUT, although the money had come",
    ),
    "refund closed before the order is updated": Mutation(
        workflows=_refund(broken_workflows.ClosedBeforeTheOrderIsUpdated),
        beginning="part",
        found_by="the order knows",
    ),
    "restocked under its own id after a replacement": Mutation(
        workflows=_refund(broken_workflows.RestockedUnderItsOwnId),
        beginning="part",
        moves=("back@end",),
        found_by="asked for",
    ),
    "order updated without a version": Mutation(
        workflows=_refund(broken_workflows.MarkedWithoutAVersion),
        beginning="part",
        moves=("back@end",),
        found_by="the order knows",
    ),
    "resolved without the order": Mutation(
        workflows=_refund(broken_workflows.ResolvedWithoutTheOrder),
        beginning="resolved",
        found_by="the order knows",
    ),
    "a new key without a look at Stripe": Mutation(
        service=broken_services.new_key_without_a_look,
        beginning="part",
        moves=("r1.carry_out_refund.create_refund:lose",),
        found_by="refunds at Stripe for one of ours",
    ),
    "made while a bank decides": Mutation(
        service=broken_services.made_while_a_bank_decides,
        beginning="disputed",
        found_by="chargeback is known to be open",
    ),
    "replaced at each request": Mutation(
        service=broken_services.replaced_at_each_request,
        beginning="failed",
        moves=("r1.replace_refund:lost",),
        found_by="refunds in the place of one",
    ),
}
"""By what is wrong."""
