"""Which new orders are let in: as many as can begin in time. The others are turned away before anything is stored.

An order that is let in costs its acceptance, its saga's start and its steps, however late it begins; past what can be
done, all of that is taken from orders that could still be paid. So the line of orders that wait for their saga to begin
is kept short. It is read where every copy of the service reads the same: its length and its patience in the database,
and what it waits for at Temporal. Orders that stand still because a service, Stripe or Temporal is away are no line for
a worker: they are let in as ever, and go on by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """When new orders are turned away.

    Attributes:
        start_delay: half of those in line have waited for longer, or some are being stored and started for longer,
            seconds; 0 never.
        loop_lag: the event loop has been later for a while, seconds; 0 never.
    """

    start_delay: float
    loop_lag: float


class Admission:
    """Says whether a new order may come in.

    It closes when those in line wait for too long. It opens when half as many are left, and closes again at the next
    look if these wait for too long still: so what comes in is no more than what begins, and there is always work. It
    opens for good when Temporal has none of them waiting.

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
        self._looked_at = float("-inf")
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._wait_for_workers = False
        self._coming_in: dict[object, float] = {}
        self._opens_at: int | None = None
        """Length of the line at which it opens; None while it is open."""

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
        if self._opens_at is None:
            return None
        return Shed("more orders wait than can be begun in time: come again later", why="orders_wait")

    def _is_slow_to_take(self) -> bool:
        """Whether the database or Temporal takes orders more slowly than they come: nobody sees these in line yet."""
        if not self.limits.start_delay or len(self._coming_in) < FEW:
            return False
        first = next(iter(self._coming_in.values()))
        return self._now() - first > self.limits.start_delay

    async def _look(self) -> None:
        """Read the line anew. Until it is read, what was read last holds for whoever else comes."""
        if self._now() - self._looked_at > KNOWN_FOR:
            self._open(waiting=None)
        try:
            async with self._database.autocommit() as connection:
                line = await OrderRepository(connection).read_line(at=self._clock(), most=MOST)
            self._looked_at = self._now()
            self._decide(line)
        except DatabaseAway:  # whoever comes in will be told so
            self._open(waiting=None)

    def _decide(self, line: Line) -> None:
        if self._opens_at is None:
            if line.waiting >= FEW and line.waited > self.limits.start_delay and self._is_for_workers():
                self._opens_at = max(line.waiting // 2, FEW - 1)
                log.warning("orders.turned_away", waiting=line.waiting, waited=round(line.waited, 3))
        elif line.waiting <= self._opens_at or not self._is_for_workers():
            self._open(waiting=line.waiting)

    def _open(self, *, waiting: int | None) -> None:
        if self._opens_at is not None:
            self._opens_at = None
            log.info("orders.let_in", waiting=waiting)

    def _is_for_workers(self) -> bool:
        """Whether Temporal had sagas waiting for a worker when it was last asked: else orders wait for something else.

        Nobody waits for its answer: it may be away, and the next look has it.
        """
        if self._asking is None and self._now() - self._asked_at >= ASK_INTERVAL:
            self._asking = apart_from_calls(self._ask())
        return self._wait_for_workers and self._now() - self._asked_at < KNOWN_FOR

    async def _ask(self) -> None:
        try:
            self._wait_for_workers = await self._sagas.count_waiting() >= FEW // 2
        except Unavailable as problem:
            log.warning("orders.line_unknown", problem=str(problem))
            self._wait_for_workers = False
        finally:
            self._asked_at = self._now()
            self._asking = None
