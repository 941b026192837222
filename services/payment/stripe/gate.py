"""Who may ask Stripe when: so many calls under way, each kind of caller in a lane of its own, and so many a second.

A slow Stripe keeps its callers waiting; whoever needs no Stripe must not wait with them. So calls of those who are
waited for cannot use up the room of our own looks after events, nor the other way round, nobody waits without a bound,
and a caller may say that it would rather fail at once than ask (docs/decisions/0029).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Final, Protocol

from runtime.deadline import time_to_wait
from runtime.metrics import STRIPE_TURNED_AWAY
from runtime.turns import Turns
from services.payment.stripe.errors import PaymentNeedsStripe, StripeBusy
from services.payment.stripe.pace import Pace

LONGEST_WAIT: Final = 10.0
"""Seconds that a call waits for its turn, and for its moment, at most; less when its caller has less time."""


class Lane(StrEnum):
    """Who asks."""

    CALLS = "calls"
    """A call that is being served: a step of a saga, or somebody who looks at a page."""
    EVENTS = "events"
    """The inbox and the sweep, after Stripe's events."""
    NONE = "none"
    """Somebody who would rather fail."""


_lane: ContextVar[Lane] = ContextVar("lane", default=Lane.CALLS)


@contextmanager
def asking_as(lane: Lane) -> Iterator[None]:
    """Whatever is asked of Stripe within is asked in this lane."""
    token = _lane.set(lane)
    try:
        yield
    finally:
        _lane.reset(token)


class MayDoWithoutStripe(Protocol):
    """A request whose caller says whether it would rather fail than ask."""

    without_stripe: bool


def asking_for(request: MayDoWithoutStripe) -> AbstractContextManager[None]:
    """Whatever is asked of Stripe within is asked for this request, if at all."""
    return asking_as(Lane.NONE if request.without_stripe else Lane.CALLS)


def current_lane() -> Lane:
    """In which lane Stripe would be asked here."""
    return _lane.get()


class StripeGate:
    """Where every call of Stripe goes through.

    Args:
        rate: calls of the account per second; None for no limit of ours.
        calls: under way at once for those who are waited for; as many may wait for their turn.
        events: under way at once after Stripe's events; as many may wait.
    """

    def __init__(self, *, rate: float | None, calls: int, events: int) -> None:
        self.pace = Pace(rate)
        self._turns = {
            lane: Turns(
                at_once,
                of=f"turn at Stripe ({lane})",
                error=StripeBusy,
                most_waiting=at_once,
                when_full=StripeBusy,
            )
            for lane, at_once in ((Lane.CALLS, calls), (Lane.EVENTS, events))
        }

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """One call of Stripe.

        Raises:
            PaymentNeedsStripe: the caller would rather fail.
            StripeBusy: its turn or its moment did not come in time; Stripe was not asked.
        """
        lane = current_lane()
        if lane is Lane.NONE:
            raise PaymentNeedsStripe("Stripe has to be asked, and others are waiting for its answers")
        try:
            async with self._turns[lane].take(wait=_patience()):
                await self.pace.wait(_patience())
                yield
        except StripeBusy:
            STRIPE_TURNED_AWAY.labels(lane.value).inc()
            raise

    def standing(self, lane: Lane) -> tuple[int, int]:
        """How many calls are under way, and how many wait for their turn."""
        turns = self._turns[lane]
        return turns.taken, turns.waiting


def _patience() -> float:
    left = time_to_wait()
    return LONGEST_WAIT if left is None else min(left, LONGEST_WAIT)
