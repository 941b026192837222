"""Looks for a schedule under which a broken saga or shop breaks a rule, in a small part of the space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Final

from tests.doubles.shop import DoubledShop
from tests.explorer import mutants_saga, mutants_shop
from tests.explorer.lab import Lab, Outcome
from tests.explorer.schedule import Move, Schedule
from tests.explorer.space import longer
from workflows.order_saga import OrderSaga


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """A mutant, and where it is looked for: one order and at most two moves of a few kinds."""

    breaks: str
    """What is said of the rule that it breaks."""
    shape: str
    moves: Sequence[str] = ()
    """Patterns of the moves that are made."""
    saga: type = OrderSaga
    shop: type[DoubledShop] = DoubledShop

    async def run(self, lab: Lab) -> list[Outcome]:
        """All of the part, or what was run of it when the first rule was broken."""
        ran: list[Outcome] = []
        level = [Schedule(self.shape)]
        while level and not any(outcome.breaches for outcome in ran):
            outcomes = await lab.run(level)
            ran.extend(outcomes)
            level = [
                schedule
                for outcome in outcomes
                for schedule in longer(outcome)
                if len(schedule.moves) <= 2 and self._is_made(schedule.moves[-1])
            ]
        return ran

    def _is_made(self, move: Move) -> bool:
        return any(fnmatch(str(move), pattern) for pattern in self.moves)


HUNTS: Final[Mapping[str, Hunt]] = {
    "undo registered after its step": Hunt(
        saga=mutants_saga.UndoRegisteredAfterItsStep,
        shape="later",
        moves=("reserve:lost", "raw@*"),
        breaks="CANCELLED with a reservation ACTIVE",
    ),
    "no shield": Hunt(
        saga=mutants_saga.NoShield,
        shape="later",
        moves=("void_payment:error", "raw@*"),
        breaks="the workflow is closed, the order PENDING",
    ),
    "single shield": Hunt(
        saga=mutants_saga.SingleShield,
        shape="later",
        moves=("void_payment:error", "raw@*"),
        breaks="the workflow is closed, the order PENDING",
    ),
    "except Exception": Hunt(
        saga=mutants_saga.ExceptException,
        shape="later",
        moves=("raw@*",),
        breaks="the workflow is closed, the order PENDING",
    ),
    "no tombstone": Hunt(
        shop=mutants_shop.NoTombstone,
        shape="later",
        moves=("quote:refuse=*",),
        breaks="something late changed",
    ),
    "no re-read at the deadline": Hunt(
        saga=mutants_saga.NoRereadAtTheDeadline,
        shape="later",
        moves=("paid-unheard@*",),
        breaks="PAYMENT_TIMEOUT, although the money had come",
    ),
    "release after commit": Hunt(
        saga=mutants_saga.ReleaseAfterCommit,
        shop=mutants_shop.SoldIsReleased,
        shape="visa",
        breaks="PAID without a committed reservation",
    ),
    "refund by the saga and by the payment service": Hunt(
        shop=mutants_shop.RefundedTwice,
        shape="visa",
        moves=("unsold@*",),
        breaks="only Stripe kept a second refund from being made",
    ),
    "mark before undo": Hunt(
        saga=mutants_saga.MarkBeforeUndo,
        shape="later",
        breaks="when it closed: 2: FAILED with a reservation ACTIVE",
    ),
    "signal trusted for the amount": Hunt(
        saga=mutants_saga.SignalTrustedForTheAmount,
        shape="later",
        moves=("mispaid@*",),
        breaks="PAID, but received 1500 of 2000",
    ),
    "attempt counted twice": Hunt(
        shop=mutants_shop.AttemptCountedTwice,
        shape="declined",
        moves=("declined@*",),
        breaks="PAYMENT_DECLINED after 2 failed charges",
    ),
    "cancel after the pivot": Hunt(
        saga=mutants_saga.CancelAfterThePivot,
        shape="visa",
        moves=("commit:error", "raw@*"),
        breaks="past the pivot",
    ),
}
"""The mutants that must be caught, by what is wrong with them."""
