"""Processes what is due, some at a time, until it is stopped; see `runtime.due_work`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final, Generic, TypeVar

import structlog
from opentelemetry.trace import SpanKind, get_current_span

from runtime import tracing
from runtime.backoff import Backoff, Retries
from runtime.database import Database, DatabaseAway
from runtime.due_work import Claimed, DueTable, Stored
from runtime.refusal import OtherSideAway, Unavailable

log = structlog.stdlib.get_logger(__name__)

Item = TypeVar("Item")

POLL: Final = 1.0
"""Seconds between two looks at what is due, unless somebody wakes the worker: other processes add rows, too."""
GRACE: Final = 5.0
"""Seconds that what is in progress gets at a stop, before its claim is released."""
RECORD_INTERVAL: Final = 0.5
"""Seconds from one attempt to record how an item ended to the next."""
_ATTEMPT: Final = "ordersaga.attempt"
"""Attribute of spans: the number of an attempt, from 1."""
_ATTEMPT_SHARE: Final = 5 / 6
"""Of its lease, what an attempt may take; the rest is for recording how it ended."""
_AWAY: Final = Backoff(first=0.5, longest=10)
"""How long nothing is claimed when the other side is away."""


class DeadLetter(Exception):
    """An item can never be processed; the message says why."""


Record = Callable[[], Awaitable[bool]]
"""Records how an item ended, by a statement that changes nothing once the claim is lost or the item is done; whether
others became due by that."""
Store = Callable[[int, timedelta], Awaitable[Stored[Item]]]
"""Stores new items, and claims some of them with that: so many at most, for so long. See `DueTable.store`."""
Process = Callable[[Claimed[Item]], Awaitable[timedelta | Record | None]]
"""Processes an item, and answers

- a `Record` that records that it is done: repeated while the database is away and the lease lasts, since what is not
  recorded is processed again;
- None, when it has recorded that itself;
- after how long it is due again.

It raises `DeadLetter` for what can never be done, `OtherSideAway` where trying others is in vain, and `Unavailable`
where this one alone has to wait. Anything else is a defect: it is logged, and the item waits, too.
"""


class DueWorker(Generic[Item]):
    """Claims and processes the due rows of a table.

    No attempt outlives its lease: it is broken off while there is time left to record that.

    Args:
        name: of the work, for the log and for metrics.
        database: where the table is.
        table: what is due.
        process: processes one item; it may run in several processes at once, and again after it took effect.
        concurrency: items in progress at once.
        lease: how long an item is nobody else's.
        backoff: from one failed attempt at an item to the next.
        poll: seconds between two looks that nobody asked for.
        grace: seconds that what is in progress gets at a stop.
    """

    def __init__(
        self,
        name: str,
        *,
        database: Database,
        table: DueTable[Item],
        process: Process[Item],
        concurrency: int,
        lease: timedelta,
        backoff: Backoff,
        poll: float = POLL,
        grace: float = GRACE,
    ) -> None:
        self.name = name
        self._database = database
        self._table = table
        self._process = process
        self._concurrency = concurrency
        self._lease = lease
        self._backoff = backoff
        self._poll = poll
        self._grace = grace
        self._woken = asyncio.Event()
        self._in_progress: set[asyncio.Task[None]] = set()
        self._kept_free = 0
        """Room for items that are just being stored."""
        self._runs = False
        self._more_due = False
        """Whether more may be due than there was room for."""
        self._away = Retries(_AWAY)
        self._not_before = 0.0

    @property
    def in_progress(self) -> int:
        """How many items are being processed."""
        return len(self._in_progress)

    def wake(self) -> None:
        """Look again at what is due."""
        self._woken.set()

    async def add(self, store: Store[Item], *, most: int) -> None:
        """Store new items, and process them at once as far as there is room: their storing claims them, without a look.

        Without room, and while it does not run or the other side is away, they are stored to be claimed like any.

        Args:
            store: stores them.
            most: how many these are.
        """
        claimed_at = asyncio.get_running_loop().time()
        takes_more = self._runs and claimed_at >= self._not_before
        with self._keep_free(min(most, self._room) if takes_more else 0) as claims:
            stored = await store(claims, self._lease)
        if self._runs:
            self._start(stored.claimed, claimed_at=claimed_at)
        else:  # it has stopped meanwhile
            for claimed in stored.claimed:
                await self._release(claimed)
        if stored.left_due:
            self.wake()

    async def run(self) -> None:
        """Work until cancelled. What is in progress then is finished, or its claim is released."""
        self._runs = True
        try:
            while True:
                self._woken.clear()
                try:
                    await self._start_due()
                except DatabaseAway as problem:
                    log.warning("due.database_away", work=self.name, problem=str(problem))
                except Exception:  # the border of a loop that must go on
                    log.exception("due.failed", work=self.name)
                await self._wait()
        finally:
            self._runs = False
            await self._stop()

    async def process_due(self) -> int:
        """Work until nothing is due, and answer how much was: what has to be tried again is due later.

        Raises:
            DatabaseAway: nothing could be claimed.
        """
        count = 0
        self._not_before = 0.0
        while True:
            count += await self._start_due()
            if not self._in_progress:
                return count
            await asyncio.wait(self._in_progress, return_when=asyncio.FIRST_COMPLETED)

    async def _wait(self) -> None:
        pause = max(self._poll, self._not_before - asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._woken.wait()

    @property
    def _room(self) -> int:
        """How many more may be claimed."""
        return max(self._concurrency - len(self._in_progress) - self._kept_free, 0)

    @contextmanager
    def _keep_free(self, room: int) -> Iterator[int]:
        """Room for what is just being claimed."""
        self._kept_free += room
        try:
            yield room
        finally:
            self._kept_free -= room

    async def _start_due(self) -> int:
        room = self._room
        if not room:
            self._more_due = True
            return 0
        claimed_at = asyncio.get_running_loop().time()  # before the claim, so that no lease has ended earlier than here
        if claimed_at < self._not_before:
            return 0
        with self._keep_free(room):
            async with self._database.autocommit() as connection:
                claimed = await self._table.claim(connection, limit=room, lease=self._lease)
        self._more_due = len(claimed) == room
        self._start(claimed, claimed_at=claimed_at)
        return len(claimed)

    def _start(self, claimed: Sequence[Claimed[Item]], *, claimed_at: float) -> None:
        for each in claimed:
            task = asyncio.create_task(self._work_at(each, claimed_at=claimed_at))
            self._in_progress.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_progress.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("due.broken", work=self.name, exc_info=error)
        if self._more_due:  # else a look would find nothing: who adds something wakes us
            self.wake()

    async def _work_at(self, claimed: Claimed[Item], *, claimed_at: float) -> None:
        """Process the item, and record how that ended, in the trace in which it became due."""
        parent = {} if claimed.traceparent is None else {tracing.TRACEPARENT: claimed.traceparent}
        with tracing.span(f"process {self.name}", SpanKind.CONSUMER, parent=parent) as span:
            tracing.note_order(claimed.item)
            span.set_attribute(_ATTEMPT, claimed.attempt)
            await self._process_and_record(claimed, claimed_at=claimed_at)

    async def _process_and_record(self, claimed: Claimed[Item], *, claimed_at: float) -> None:
        lease = self._lease.total_seconds()
        try:
            record = await self._attempt(claimed, break_off_at=claimed_at + _ATTEMPT_SHARE * lease)
        except asyncio.CancelledError:
            await self._release(claimed)
            raise
        if record is not None and await self._until_recorded(claimed, record, lease_ends_at=claimed_at + lease):
            self.wake()

    async def _attempt(self, claimed: Claimed[Item], *, break_off_at: float) -> Record | None:
        """Process the item; what records how that ended."""
        try:
            async with asyncio.timeout_at(break_off_at) as limit:
                outcome = await self._process(claimed)
        except DeadLetter as problem:
            tracing.fail(get_current_span(), type(problem).__name__)
            return partial(self._dead_letter, claimed, str(problem))
        except Exception as problem:  # one bad item must not stop all others
            broken_off = Unavailable("broken off, because its lease was about to end")
            return self._failed(claimed, broken_off if limit.expired() else problem)
        self._away.succeeded()
        return partial(self._reschedule, claimed, outcome, None) if isinstance(outcome, timedelta) else outcome

    def _failed(self, claimed: Claimed[Item], problem: Exception) -> Record:
        tracing.fail(get_current_span(), type(problem).__name__)
        now = asyncio.get_running_loop().time()
        if isinstance(problem, OtherSideAway) and now >= self._not_before:  # those that were in progress count once
            self._not_before = now + self._away.failed()
        if isinstance(problem, Unavailable):
            log.info("due.postponed", work=self.name, key=claimed.key, attempt=claimed.attempt, problem=str(problem))
            error = str(problem)
        else:
            log.error("due.item_failed", work=self.name, key=claimed.key, attempt=claimed.attempt, exc_info=problem)
            error = f"{type(problem).__name__}: {problem}"
        return partial(self._reschedule, claimed, self._backoff.timedelta(claimed.attempt), error)

    async def _until_recorded(self, claimed: Claimed[Item], record: Record, *, lease_ends_at: float) -> bool:
        """Record how it ended, repeatedly while the database is away. If only the commit's answer was lost, the repeat
        finds no claim, and changes nothing."""
        while True:
            try:
                return await record()
            except DatabaseAway as problem:
                log.warning("due.not_recorded", work=self.name, key=claimed.key, problem=str(problem))
                if asyncio.get_running_loop().time() >= lease_ends_at:
                    return False
            await asyncio.sleep(RECORD_INTERVAL)

    async def _reschedule(self, claimed: Claimed[Item], delay: timedelta, error: str | None) -> bool:
        async with self._database.autocommit() as connection:
            if not await self._table.reschedule(connection, claimed, delay=delay, error=error):
                log.warning("due.claim_lost", work=self.name, key=claimed.key)
        return delay <= timedelta(0)

    async def _dead_letter(self, claimed: Claimed[Item], error: str) -> bool:
        log.error("due.dead_lettered", work=self.name, key=claimed.key, attempt=claimed.attempt, error=error)
        async with self._database.autocommit() as connection:
            if not await self._table.dead_letter(connection, claimed, error=error):
                delay = self._backoff.timedelta(claimed.attempt)
                await self._table.reschedule(connection, claimed, delay=delay, error=error)
        return False

    async def _release(self, claimed: Claimed[Item]) -> None:
        with suppress(DatabaseAway):  # its lease ends by itself
            async with self._database.autocommit() as connection:
                await self._table.release(connection, claimed)

    async def _stop(self) -> None:
        if self._in_progress:
            await asyncio.wait(self._in_progress, timeout=self._grace)
        for task in self._in_progress:
            task.cancel()
        if self._in_progress:
            await asyncio.wait(self._in_progress, timeout=GRACE)
