"""Which new orders are let in: as many as can begin in time. The others are turned away before anything is stored.

An order that is let in costs its acceptance, its saga's start and its steps, however late it begins; past what can be
done, all of that is taken from orders that could still be paid. So the line of orders that wait for their saga to begin
is kept as short as its last order can wait. It is read where every copy of the service reads the same: its length and
how fast it moves in the database, and what it waits for at Temporal. Orders that stand still because a service, Stripe
or Temporal is away are no line for a worker: they are let in as ever, and go on by themselves.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from domain.ids import first_id_at
from runtime.clock import Clock
from runtime.database import Database, DatabaseAway
from runtime.deadline import apart_from_calls
from runtime.loop_lag import LoopLag
from runtime.refusal import Shed, Unavailable
from services.order.model import Line
from services.order.repository import OrderRepository
from services.order.sagas import Sagas

log = structlog.stdlib.get_logger(__name__)

FEW: Final = 20
"""Orders that are no line yet, however long they wait."""
LOOK_INTERVAL: Final = 0.1
"""Seconds for which what was read of the line holds."""
ASK_INTERVAL: Final = 1.0
"""Seconds from one answer of Temporal's to the next question."""
KNOWN_FOR: Final = 5.0
"""Seconds after which what was read of the line, or heard of Temporal, is not known any more."""
MOST: Final = 1_000
"""Orders of the line that are looked at, the last that came."""
NEW_FOR: Final = 10
"""Times the patience of the line after which an order is not new in it any more."""
PACE_INTERVAL: Final = 1.0
"""Seconds over which it is counted how many of a line have begun."""
LONGEST_RETRY: Final = 15.0
"""Seconds after which whoever was turned away is told to come again, at most."""
_SHORTEST_RETRY: Final = 1.0
_RETURNING: Final = 2
"""Who comes again, for each order that begins: some give up, and new ones come before them."""
_STORING: Final = timedelta(seconds=1)
"""An order whose id is older than this is stored, if it ever is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """When new orders are turned away.

    Attributes:
        start_delay: whoever joins the line would wait for longer, or some are being stored and started for longer,
            seconds; 0 never.
        loop_lag: the event loop has been later for a while, seconds; 0 never.
    """

    start_delay: float
    loop_lag: float


class Pace:
    """How fast a line moves: once a second, by how many more have come than it has grown."""

    def __init__(self) -> None:
        self.since: str | None = None
        """Orders with greater ids are counted as having come."""
        self.rate: float | None = None
        """Orders that begin in a second, as fast as the last line went; None where that is not known."""
        self._mark: Line | None = None
        self._marked_at = 0.0

    def note(self, line: Line, *, at: datetime, now: float) -> None:
        """Count who has begun.

        Args:
            line: with those that have come `since`.
            at: when it was read, by the clock of orders.
            now: the same in seconds, by one that is never put back.
        """
        if not FEW <= line.received < MOST:
            self.since = self._mark = None
        elif self.since is None:
            self.since = first_id_at(at - _STORING)
        elif self._mark is None:
            self._mark, self._marked_at = line, now
        elif (passed := now - self._marked_at) >= PACE_INTERVAL:
            begun = (line.came - self._mark.came) - (line.received - self._mark.received)
            rate = max(begun, 0) / passed
            self.rate = rate if self.rate is None else (self.rate + rate) / 2
            self.since, self._mark = first_id_at(at - _STORING), None


class Returns:
    """When those who were turned away are to come again: one after the other, as many in a second as may get in.

    All of them together could not; and turning them away once more takes from what begins.
    """

    def __init__(self) -> None:
        self._last = float("-inf")

    def book(self, *, rate: float | None, now: float) -> float | None:
        """In how many seconds the next of them is to come; None where any moment is as good.

        Args:
            rate: orders that begin in a second.
            now: seconds, by a clock that is never put back.
        """
        if rate is None:
            return None
        pause = 1 / max(rate * _RETURNING, 1 / LONGEST_RETRY)
        self._last = min(max(self._last + pause, now + _SHORTEST_RETRY), now + LONGEST_RETRY)
        return self._last - now


class Admission:
    """Says whether a new order may come in.

    Those come in that can begin in time behind the ones that stand in line: at each look as many as there is room
    for. So what comes in is no more than what begins, and there is always work.

    Args:
        database: where the line is.
        sagas: say how many of them wait for a worker.
        lag: of this process's event loop.
        limits: when it closes.
        clock: by which orders were accepted.
        now: says how old a reading is, seconds.
    """

    def __init__(
        self,
        database: Database,
        sagas: Sagas,
        lag: LoopLag,
        limits: AdmissionLimits,
        *,
        clock: Clock,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._sagas = sagas
        self._lag = lag
        self.limits = limits
        self._clock = clock
        self._now = now
        self._looking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looking.set_result(None)
        self._pace = Pace()
        self._returns = Returns()
        self._new = timedelta(seconds=NEW_FOR * limits.start_delay)
        self._looked_at = float("-inf")
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._backlog = 0
        self._had_backlog_at = float("-inf")
        self._room = math.inf
        """Orders that may still come in before the next look at the line."""
        self._coming_in: dict[object, float] = {}
        self._turned_away_at = float("-inf")
        self._is_limiting = False
        """Whether it has been said that orders are turned away."""

    @contextmanager
    def coming_in(self) -> Iterator[None]:
        """Count an order as one that is being stored or started, as long as the context is open."""
        order = object()
        self._coming_in[order] = self._now()
        try:
            yield
        finally:
            del self._coming_in[order]

    async def find_reason(self) -> Shed | None:
        """Why no new order may come in now; None when one may."""
        if self._is_slow_to_take():
            return Shed("more orders come than can be taken in time: come again later", why="orders_come")
        if self.limits.loop_lag and self._lag.standing > self.limits.loop_lag:
            return Shed("there is more to do than can be done in time: come again later", why="busy_loop")
        if self.limits.start_delay and self._looking.done() and self._now() - self._looked_at >= LOOK_INTERVAL:
            self._looking = apart_from_calls(self._look())  # no work for the order that happens to have it done
            await asyncio.shield(self._looking)
        if self._room > 0:
            self._room -= 1
            return None
        self._note_turned_away()
        return Shed(
            "more orders wait than can be begun in time: come again later",
            why="orders_wait",
            retry_after=self._returns.book(rate=self._pace.rate, now=self._now()),
        )

    def _is_slow_to_take(self) -> bool:
        """Whether the database or Temporal takes orders more slowly than they come: nobody sees these in line yet."""
        if not self.limits.start_delay or len(self._coming_in) < FEW:
            return False
        first = next(iter(self._coming_in.values()))
        return self._now() - first > self.limits.start_delay

    async def _look(self) -> None:
        """Read the line anew. Until it is read, what was read last holds for whoever else comes."""
        if self._now() - self._looked_at > KNOWN_FOR:
            self._room = math.inf
        try:
            async with self._database.autocommit() as connection:
                at = self._clock()
                line = await OrderRepository(connection).read_line(
                    at=at, new_from=at - self._new, since=self._pace.since, most=MOST
                )
            self._looked_at = self._now()
            self._pace.note(line, at=at, now=self._looked_at)
            self._room = self._find_room(line)
        except DatabaseAway:  # whoever comes in will be told so
            self._room = math.inf
        if self._is_limiting and self._now() - self._turned_away_at > KNOWN_FOR:
            self._is_limiting = False
            log.info("orders.let_in")

    def _find_room(self, line: Line) -> float:
        """How many more can begin in time.

        How many have begun says little while the line has waited for a moment only: workers may be being exchanged. But
        where some were turned away lately, they come again together, and the line is not to be short for a moment to
        have all of them in it.
        """
        patience = self.limits.start_delay
        if (line.received < FEW and not self._is_limiting) or not self._is_for_workers():
            return math.inf
        if line.waited < patience / 6 and not self._is_limiting:
            return math.inf
        if self._pace.rate is None:
            return 0 if line.waited > patience else math.inf
        waiting = max(line.new, min(line.received, self._backlog))  # older ones may stand still for another reason
        return max(self._pace.rate * patience, FEW - 1) - waiting

    def _note_turned_away(self) -> None:
        self._turned_away_at = self._now()
        if not self._is_limiting:
            self._is_limiting = True
            log.warning("orders.turned_away", patience=self.limits.start_delay)

    def _is_for_workers(self) -> bool:
        """Whether Temporal had sagas waiting for a worker a short time ago: else orders wait for something else.

        Nobody waits for its answer: it may be away, and the next look has it.
        """
        if self._asking is None and self._now() - self._asked_at >= ASK_INTERVAL:
            self._asking = apart_from_calls(self._ask())
        return self._now() - self._had_backlog_at < KNOWN_FOR

    async def _ask(self) -> None:
        try:
            self._backlog = await self._sagas.count_waiting()
            if self._backlog >= FEW // 2:
                self._had_backlog_at = self._now()
        except Unavailable as problem:
            log.warning("orders.line_unknown", problem=str(problem))
            self._backlog, self._had_backlog_at = 0, float("-inf")
        finally:
            self._asked_at = self._now()
            self._asking = None
