"""What the relay of one database does next: a decision over what it knows and the time, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from workers.relay.state import Key, RelayState

READ_LIMIT: Final = 500
MAX_ROWS_IN_FLIGHT: Final = 2_000


@dataclass(frozen=True, slots=True)
class AskForLease:
    """Take the lease if it is free, or renew ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAndSend:
    """Read the oldest unpublished rows and send them; mark what is acknowledged by the same statement.

    Attributes:
        limit: how many rows at most.
        without: keys whose rows are left out.
    """

    limit: int
    without: AbstractSet[Key]


@dataclass(frozen=True, slots=True)
class Mark:
    """Mark what is acknowledged by a statement of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait until then, whatever happens: it is for the next round."""

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait until then, or until something happens: new rows, the end of a batch, a stop."""

    until: float


Move = AskForLease | ReadAndSend | Mark | Pause | Wait


def next_move(state: RelayState, *, now: float) -> Move:
    """What to do at this moment. Executing it changes the state, or takes until another moment."""
    if now >= state.lease.ask_at:
        return AskForLease()
    if now < state.round_at:
        return Pause(until=state.round_at)
    if not state.lease.is_valid(now):
        return Wait(until=state.lease.ask_at)
    read_at, mark_at = _read_at(state), state.acknowledged.mark_at
    if now >= read_at:
        limit = min(READ_LIMIT, MAX_ROWS_IN_FLIGHT - state.in_flight.rows)
        return ReadAndSend(limit=limit, without=state.in_flight.keys | state.backoff.waiting(now))
    if now >= mark_at:
        return Mark()
    return Wait(until=min(state.lease.ask_at, read_at, mark_at))


def _read_at(state: RelayState) -> float:
    """When to read next, unless something happens before."""
    if state.in_flight.rows >= MAX_ROWS_IN_FLIGHT:
        return math.inf  # the end of a batch wakes us
    wanted_at = -math.inf if state.unread else min(state.poll_at, state.backoff.next_end)
    return max(wanted_at, state.broker_retry_at)
