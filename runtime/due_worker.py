"""Processes what is due, some at a time, until it is told to stop; see `runtime.due_work`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, Generic, TypeVar

import structlog

from runtime.backoff import Backoff, Retries
from runtime.database import Database, DatabaseAway
from runtime.due_work import Claimed, DueTable
from runtime.refusal import OtherSideAway, Unavailable

log = structlog.stdlib.get_logger(__name__)

Item = TypeVar("Item")

POLL: Final = 1.0
"""Seconds between two looks at what is due, unless somebody wakes the worker: other processes add rows, too."""
GRACE: Final = 5.0
"""Seconds that what is in progress gets at a stop, before its claim is given back."""
_AWAY: Final = Backoff(first=0.5, longest=10)
"""How long nothing is claimed when the other side is away."""


class DeadLetter(Exception):
    """An item can never be processed; the message says why."""


Process = Callable[[Claimed[Item]], Awaitable[timedelta | None]]
"""Processes an item, and answers None once it has recorded that it is done, or after how long it is due again.

It raises `DeadLetter` for what can never be done, `OtherSideAway` where trying others is in vain, and `Unavailable`
where this one alone has to wait. Anything else is a defect: it is logged, and the item waits, too.
"""


class DueWorker(Generic[Item]):
    """Claims and processes the due rows of a table.

    Args:
        name: of the work, for the log.
        database: where the table is.
        table: what is due.
        process: processes one item; it may run in several processes at once, and again after it took effect.
        concurrency: items in progress at once.
        lease: how long an item is nobody else's.
        backoff: from one failed attempt at an item to the next.
        poll: seconds between two looks that nobody asked for.
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
    ) -> None:
        self._name = name
        self._database = database
        self._table = table
        self._process = process
        self._concurrency = concurrency
        self._lease = lease
        self._backoff = backoff
        self._poll = poll
        self._woken = asyncio.Event()
        self._in_progress: set[asyncio.Task[None]] = set()
        self._away = Retries(_AWAY)
        self._not_before = 0.0

    def wake(self) -> None:
        """Look again at what is due."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled. What is in progress then is finished, or its claim is given back."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self._start_due()
                except DatabaseAway as problem:
                    log.warning("due.database_away", work=self._name, problem=str(problem))
                except Exception:  # the border of a loop that must go on
                    log.exception("due.failed", work=self._name)
                await self._wait()
        finally:
            await self._stop()

    async def process_due(self) -> int:
        """Work until nothing is due, and answer how much was: what has to be tried again is due later."""
        count = 0
        self._not_before = 0.0
        while (started := await self._start_due()) or self._in_progress:
            count += started
            if self._in_progress:
                await asyncio.wait(self._in_progress, return_when=asyncio.FIRST_COMPLETED)
        return count

    async def _wait(self) -> None:
        pause = max(self._poll, self._not_before - asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._woken.wait()

    async def _start_due(self) -> int:
        room = self._concurrency - len(self._in_progress)
        if room <= 0 or asyncio.get_running_loop().time() < self._not_before:
            return 0
        async with self._database.autocommit() as connection:
            claimed = await self._table.claim(connection, limit=room, lease=self._lease)
        for each in claimed:
            task = asyncio.create_task(self._work_at(each))
            self._in_progress.add(task)
            task.add_done_callback(self._ended)
        return len(claimed)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_progress.discard(task)
        self.wake()

    async def _work_at(self, claimed: Claimed[Item]) -> None:
        try:
            try:
                delay = await self._process(claimed)
            except asyncio.CancelledError:
                await self._release(claimed)
                raise
            except DeadLetter as problem:
                await self._dead_letter(claimed, str(problem))
            except Exception as problem:  # one bad item must not stop all others
                await self._fail(claimed, problem)
            else:
                self._away.succeeded()
                if delay is not None:
                    await self._reschedule(claimed, delay, error=None)
        except DatabaseAway as problem:  # the item is due again when its lease ends
            log.warning("due.not_recorded", work=self._name, key=claimed.key, problem=str(problem))

    async def _fail(self, claimed: Claimed[Item], problem: Exception) -> None:
        if isinstance(problem, OtherSideAway):
            self._not_before = asyncio.get_running_loop().time() + self._away.failed()
        if isinstance(problem, Unavailable):
            log.info("due.postponed", work=self._name, key=claimed.key, attempt=claimed.attempt, problem=str(problem))
        else:
            log.exception("due.item_failed", work=self._name, key=claimed.key, attempt=claimed.attempt)
        error = str(problem) if isinstance(problem, Unavailable) else f"{type(problem).__name__}: {problem}"
        await self._reschedule(claimed, self._backoff.timedelta(claimed.attempt), error=error)

    async def _reschedule(self, claimed: Claimed[Item], delay: timedelta, *, error: str | None) -> None:
        async with self._database.autocommit() as connection:
            await self._table.reschedule(connection, claimed, delay=delay, error=error)

    async def _dead_letter(self, claimed: Claimed[Item], error: str) -> None:
        log.error("due.dead_lettered", work=self._name, key=claimed.key, attempt=claimed.attempt, error=error)
        async with self._database.autocommit() as connection:
            if not await self._table.dead_letter(connection, claimed, error=error):
                await self._table.reschedule(
                    connection, claimed, delay=self._backoff.timedelta(claimed.attempt), error=error
                )

    async def _release(self, claimed: Claimed[Item]) -> None:
        with suppress(DatabaseAway):  # its lease ends by itself
            async with self._database.autocommit() as connection:
                await self._table.release(connection, claimed)

    async def _stop(self) -> None:
        if self._in_progress:
            await asyncio.wait(self._in_progress, timeout=GRACE)
        for task in self._in_progress:
            task.cancel()
        if self._in_progress:
            await asyncio.wait(self._in_progress, timeout=GRACE)
