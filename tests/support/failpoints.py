"""Processes that die at a chosen point, and the enumeration of all such points.

An act is what a process does to the world outside: a statement, a COMMIT, a request to Stripe, a signal. Between two
acts every moment of death is the same for all who live on, so a process has as many points of death as it has acts:
it dies when the act has taken effect and its answer has not been seen. (To die before the first act is not to start.)
Acts are caught below the code that is tested, at the driver's cursor and at the HTTP client, so that none goes around.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from runtime.database import Connection, Database
from runtime.refusal import Unavailable

MOST_ATTEMPTS = 10


class Died(BaseException):
    """The process is gone. Nothing in it may catch this."""


class Lifecycle:
    """The acts of one process, and after how many of them it dies; `None` is never."""

    def __init__(self, *, acts: int | None = None) -> None:
        self._most_acts = acts
        self.acts: list[str] = []
        self._is_over = False

    @contextmanager
    def act(self, name: str) -> Iterator[None]:
        """Around an act. What is left running of a dead process can act no more.

        Raises:
            Died: instead of the act's answer, or before an act of a process that is dead.
        """
        if self._is_over:
            raise Died(name)
        try:
            yield
        finally:
            self.acts.append(name)
            self._is_over = self._is_over or len(self.acts) == self._most_acts
            if self._is_over:
                self.end(name)

    def end(self, name: str) -> None:
        """What happens at the point of death."""
        raise Died(name)


class MortalDatabase(Database):
    """A database as one process sees it. When that dies PostgreSQL sees its connection closed, with no last word.

    It uses the pool of `real`, whose other connections serve whoever comes next.
    """

    def __init__(self, real: Database, life: Lifecycle) -> None:
        self.dsn = real.dsn
        self.listen_dsn = real.listen_dsn
        self._pool = real._pool
        self.turns = real.turns
        self.counts = real.counts
        self._life = life
        self._cursors = _cursors_of(life)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(super().transaction())
            with self._life.act("COMMIT"):
                await stack.aclose()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with super()._connect() as connection:
            usual, connection.cursor_factory = connection.cursor_factory, self._cursors
            try:
                yield connection
            except Died:
                connection.pgconn.finish()
                raise
            finally:
                connection.cursor_factory = usual


def _cursors_of(life: Lifecycle) -> type[psycopg.AsyncCursor[Any]]:
    class Cursor(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            with life.act(" ".join(str(query).split())[:60]):
                return await super().execute(query, *args, **options)

    return Cursor


async def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Case:
    """A step that processes work on, one after the other, until it has its answer.

    Attributes:
        step: what a process of this life does.
        check: that all agree when it is done.
        meanwhile: what happens between a death and the next process.
    """

    step: Callable[[Lifecycle], Awaitable[object]]
    check: Callable[[], Awaitable[None]]
    meanwhile: Callable[[], Awaitable[None]] = _nothing

    async def live(self, life: Lifecycle) -> None:
        """Ask for the step as the saga does, until there is an answer."""
        for _ in range(MOST_ATTEMPTS):
            try:
                await self.step(life)
            except Unavailable:
                continue
            return
        raise AssertionError(f"no answer after {MOST_ATTEMPTS} attempts")


@dataclass
class Explored:
    """How many schedules were run, by their number of deaths; in how many a process outlived the death meant for it."""

    schedules: Counter[int] = field(default_factory=Counter)
    outlived: int = 0

    def __str__(self) -> str:
        words = ("without a death", "points", "pairs", "triples")
        return ", ".join(f"{count} {words[deaths]}" for deaths, count in sorted(self.schedules.items()) if deaths)


async def explore(begin: Callable[[], Awaitable[Case]], *, deaths: int, one_in: int = 1) -> Explored:
    """Run a case with every sequence of up to so many deaths, each at every point that there is; check each.

    Of the sequences of more than one death only one in so many is run, evenly spread. How many points a process has is
    found out by letting it live, so a new act is a new point.
    """
    explored = Explored()
    schedules: list[tuple[int, ...]] = [()]
    while schedules:
        schedule = schedules.pop()
        lives = [Lifecycle(acts=acts) for acts in schedule]
        last = Lifecycle()
        try:
            case = await begin()
            died = await _die_in_turn(case, lives)
            if died == len(lives):
                await case.live(last)
            await case.check()
        except BaseException as error:
            error.add_note("\n".join(f"died after {life.acts}" for life in lives))
            error.add_note(f"then did {last.acts}")
            raise
        explored.schedules[died] += 1
        explored.outlived += died < len(schedule)
        if died == len(schedule) < deaths:
            points = range(1, len(last.acts) + 1)
            schedules += [(*schedule, acts) for acts in points if not schedule or (sum(schedule) + acts) % one_in == 0]
    assert explored.outlived <= max(2, explored.schedules.total() // 20), f"{explored.outlived} outlived their deaths"
    return explored


async def _die_in_turn(case: Case, lives: Sequence[Lifecycle]) -> int:
    """How many processes died as they were to. One that had less to do this time than when its points were counted, for
    a lease had run out then, lives and gives the answer."""
    for died, life in enumerate(lives):
        try:
            await case.live(life)
        except Died:
            await case.meanwhile()
        else:
            return died
    return len(lives)
