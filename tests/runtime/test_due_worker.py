"""What is due is processed until it is done: once, by any number of workers, whatever fails or dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.trace import StatusCode
from sqlalchemy import Text
from sqlmodel import Field

from runtime import due_worker, tracing
from runtime.backoff import Backoff
from runtime.database import Database, DatabaseAway, service_metadata, timestamp
from runtime.due_work import Claimed, DueColumns, DueTable, Stored
from runtime.due_worker import DeadLetter, DueWorker, Process, Store
from runtime.refusal import OtherSideAway, Unavailable
from tests.support.recorded_spans import id_of, parent_of, recording
from tests.support.rows import fetch_rows
from tests.support.scratch import Scratch

LEASE = timedelta(seconds=60)
BACKOFF = Backoff(first=100, longest=350)


class ItemRow(DueColumns, table=True):
    """Something to be processed, after another one if it names it."""

    __tablename__ = "items"
    metadata = service_metadata()

    name: str = Field(sa_type=Text, primary_key=True)
    after: str | None = Field(default=None, sa_type=Text)
    outcome: str | None = Field(default=None, sa_type=Text)
    ended_at: datetime | None = timestamp(default=None, nullable=True)


@dataclass(frozen=True)
class Item:
    name: str


ITEMS = DueTable(
    table="items",
    key="name",
    pending="ended_at IS NULL",
    ready="NOT EXISTS (SELECT FROM items AS other WHERE other.name = items.after AND other.ended_at IS NULL)",
    columns="claimed.name",
    make=Item,
    dead_letter="ended_at = now(), outcome = 'dead'",
)
WITHOUT_DEAD_LETTERS = DueTable(
    table="items", key="name", pending="ended_at IS NULL", columns="claimed.name", make=Item
)

END = f"UPDATE items SET ended_at = now(), outcome = %(outcome)s WHERE {ITEMS.still_claimed}"  # noqa: S608 - constants


class Killed(BaseException):
    """Ends a worker's task where it stands: nothing of ours catches it."""


class Queue:
    """The table, and workers on it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def add(self, *names: str, after: str | None = None) -> None:
        async with self.database.autocommit() as connection:
            for name in names:
                await connection.execute(
                    "INSERT INTO items (name, after, attempts, next_attempt_at) VALUES (%(name)s, %(after)s, 0, now())",
                    name=name,
                    after=after,
                )

    def claims(self) -> int:
        """How often somebody has looked in this test for what is due."""
        return self.database.counts.statements[ITEMS._claim]

    async def add_traced(self, name: str) -> None:
        """Add an item as services do."""
        async with self.database.autocommit() as connection:
            await connection.execute(
                "INSERT INTO items (name, attempts, next_attempt_at, traceparent)"
                " VALUES (%(name)s, 0, now(), %(traceparent)s)",
                name=name,
            )

    def worker(
        self,
        process: Process[Item],
        *,
        database: Database | None = None,
        table: DueTable[Item] = ITEMS,
        concurrency: int = 2,
        lease: timedelta = LEASE,
        poll: float = 60,
        grace: float = 5,
    ) -> DueWorker[Item]:
        return DueWorker(
            "tests",
            database=database or self.database,
            table=table,
            process=process,
            concurrency=concurrency,
            lease=lease,
            backoff=BACKOFF,
            poll=poll,
            grace=grace,
        )

    async def end(self, claimed: Claimed[Item], outcome: str = "done") -> bool:
        """Record that it is done; whether it was still claimed."""
        async with self.database.autocommit() as connection:
            return await connection.execute(END, outcome=outcome, **claimed.parameters) == 1

    async def state(self, name: str) -> tuple[str | None, int, str | None]:
        """Outcome, attempts, last error."""
        [row] = await fetch_rows(
            self.database, "SELECT outcome, attempts, last_error FROM items WHERE name = %(name)s", name=name
        )
        return row[0], row[1], row[2]

    async def seconds_until_due(self, name: str) -> float:
        [[seconds]] = await fetch_rows(
            self.database,
            "SELECT extract(epoch FROM next_attempt_at - now())::float FROM items WHERE name = %(name)s",
            name=name,
        )
        return float(seconds)

    async def let_time_pass(self) -> None:
        """As much as it takes for leases to end and delays to be over."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE items SET next_attempt_at = now() WHERE ended_at IS NULL")

    async def pending(self) -> list[str]:
        rows = await fetch_rows(self.database, "SELECT name FROM items WHERE ended_at IS NULL ORDER BY name")
        return [name for (name,) in rows]


@pytest_asyncio.fixture(scope="module")
async def module_queue(scratch: Scratch) -> AsyncIterator[Queue]:
    scratch.create(ItemRow)
    async with scratch.database(pool_size=8) as database:
        yield Queue(database)


@pytest_asyncio.fixture
async def queue(module_queue: Queue) -> Queue:
    async with module_queue.database.autocommit() as connection:
        await connection.execute("TRUNCATE items")
    module_queue.database.counts.statements.clear()
    return module_queue


@asynccontextmanager
async def running(worker: DueWorker[Item]) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def settle() -> None:
    """Let every task get as far as it gets without waiting for anything."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - it becomes true in the database
            await asyncio.sleep(0.01)


async def claim(queue: Queue, *, limit: int) -> list[str]:
    async with queue.database.autocommit() as connection:
        return [claimed.item.name for claimed in await ITEMS.claim(connection, limit=limit, lease=LEASE)]


async def test_what_has_been_due_longest_is_claimed_first_up_to_a_limit(queue: Queue) -> None:
    for name in ("b", "a", "d", "c"):
        await queue.add(name)

    assert sorted(await claim(queue, limit=3)) == ["a", "b", "d"]
    assert await claim(queue, limit=3) == ["c"]
    assert await claim(queue, limit=3) == []


async def test_rows_that_somebody_is_just_claiming_are_passed_over_without_a_wait(queue: Queue) -> None:
    await queue.add("a", "b", "c", "d", "e")

    async with queue.database.transaction() as connection:
        first = {claimed.key for claimed in await ITEMS.claim(connection, limit=2, lease=LEASE)}
        async with asyncio.timeout(10):
            second = set(await claim(queue, limit=4))

    assert (len(first), len(second)) == (2, 3)
    assert first | second == {"a", "b", "c", "d", "e"}


async def test_what_waits_for_another_item_is_claimed_when_that_is_done(queue: Queue) -> None:
    await queue.add("second", after="first")
    await queue.add("first")

    async with queue.database.autocommit() as connection:
        [first] = await ITEMS.claim(connection, limit=5, lease=LEASE)
    assert first.key == "first"
    assert await claim(queue, limit=5) == []
    await queue.end(first)

    assert await claim(queue, limit=5) == ["second"]


async def test_what_is_not_done_yet_is_due_again_after_a_delay_and_has_not_failed(queue: Queue) -> None:
    await queue.add("a")
    worker = queue.worker(lambda claimed: _answer(timedelta(seconds=50)))

    assert await worker.process_due() == 1

    assert await queue.state("a") == (None, 0, None)
    assert 40 < await queue.seconds_until_due("a") <= 50


async def test_delays_grow_from_one_failed_attempt_to_the_next_up_to_a_limit(queue: Queue) -> None:
    await queue.add("a")

    async def fail(claimed: Claimed[Item]) -> None:
        raise Unavailable(f"attempt {claimed.attempt}")

    worker, delays, errors = queue.worker(fail), [], []
    for _ in range(4):
        await queue.let_time_pass()
        await worker.process_due()
        delays.append(await queue.seconds_until_due("a"))
        errors.append((await queue.state("a"))[2])

    assert [delay <= most for delay, most in zip(delays, (100, 200, 350, 350), strict=True)] == [True] * 4
    assert [delay > least for delay, least in zip(delays, (50, 150, 300, 300), strict=True)] == [True] * 4
    assert errors == [f"attempt {number}" for number in range(1, 5)]


async def test_a_poisoned_item_waits_and_the_rest_goes_on(queue: Queue) -> None:
    await queue.add("poisoned")
    await queue.add("a", "b", "c")

    async def process(claimed: Claimed[Item]) -> None:
        if claimed.key == "poisoned":
            raise ValueError("no such thing")
        await queue.end(claimed)

    assert await queue.worker(process, concurrency=1).process_due() == 4

    assert await queue.pending() == ["poisoned"]
    assert await queue.state("poisoned") == (None, 1, "ValueError: no such thing")
    assert await queue.seconds_until_due("poisoned") > 50


async def test_an_item_that_hangs_is_broken_off_before_its_lease_ends_and_holds_up_nobody(queue: Queue) -> None:
    await queue.add("hanging")
    await queue.add("a", "b", "c")

    async def process(claimed: Claimed[Item]) -> None:
        if claimed.key == "hanging":
            await asyncio.Event().wait()
        await queue.end(claimed)

    assert due_worker._ATTEMPT_SHARE < 1
    worker = queue.worker(process, lease=timedelta(seconds=3))
    assert await worker.process_due() == 4

    assert await queue.pending() == ["hanging"]
    assert await queue.state("hanging") == (None, 1, "broken off, because its lease was about to end")
    assert await queue.seconds_until_due("hanging") > 50


async def test_nothing_more_is_tried_while_the_other_side_is_away(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_worker, "_AWAY", Backoff(first=60, longest=60))
    await queue.add(*(f"item {number}" for number in range(10)))
    tried = asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        tried.set()
        raise OtherSideAway("nobody answers")

    worker = queue.worker(process, concurrency=2)
    async with running(worker):
        async with asyncio.timeout(20):
            await tried.wait()
        await until(lambda: _has_failed(queue, 2))
        for _ in range(3):
            worker.wake()
            await settle()

    assert await fetch_rows(queue.database, "SELECT sum(attempts)::int FROM items") == [(2,)]
    assert len(await queue.pending()) == 10


async def test_all_is_processed_when_the_other_side_is_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_worker, "_AWAY", Backoff(first=0.01, longest=0.05))
    await queue.add(*(f"item {number}" for number in range(10)))
    is_away, failures = True, 0

    async def process(claimed: Claimed[Item]) -> None:
        nonlocal failures
        if is_away:
            failures += 1
            raise OtherSideAway("nobody answers")
        await queue.end(claimed)

    async with running(queue.worker(process, poll=0.02)):
        await until(lambda: _answer(failures >= 5))
        is_away = False
        await until(lambda: _has_ended(queue, 10 - failures))
        await queue.let_time_pass()
        await until(lambda: _has_ended(queue, 10))


async def test_what_can_never_be_done_is_dead_lettered_and_never_tried_again(queue: Queue) -> None:
    await queue.add("a", "b")

    async def process(claimed: Claimed[Item]) -> None:
        if claimed.key == "a":
            raise DeadLetter("it names nobody")
        await queue.end(claimed)

    worker = queue.worker(process)
    assert await worker.process_due() == 2
    await queue.let_time_pass()

    assert await worker.process_due() == 0
    assert await queue.state("a") == ("dead", 1, "it names nobody")
    assert await queue.state("b") == ("done", 1, None)


async def test_where_there_are_no_dead_letters_what_can_never_be_done_waits(queue: Queue) -> None:
    await queue.add("a")

    async def process(claimed: Claimed[Item]) -> None:
        raise DeadLetter("it names nobody")

    await queue.worker(process, table=WITHOUT_DEAD_LETTERS).process_due()

    assert await queue.state("a") == (None, 1, "it names nobody")
    assert await queue.seconds_until_due("a") > 50


async def test_workers_that_share_a_table_do_everything_once(queue: Queue, scratch: Scratch) -> None:
    names = [f"item {number:02}" for number in range(60)]
    await queue.add(*names)
    processed: list[str] = []

    async def process(claimed: Claimed[Item]) -> None:
        processed.append(claimed.key)
        await asyncio.sleep(0)
        assert await queue.end(claimed)

    async with scratch.database() as one, scratch.database() as two:
        workers = [queue.worker(process, database=database, concurrency=4) for database in (one, two)]
        counts = await asyncio.gather(*(worker.process_due() for worker in workers))

    assert sorted(processed) == names
    assert sum(counts) == len(names)
    assert await queue.pending() == []


async def test_what_a_killed_worker_had_claimed_is_processed_when_the_lease_has_ended(queue: Queue) -> None:
    await queue.add("a")

    async def die(claimed: Claimed[Item]) -> None:
        raise Killed

    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)

    await queue.worker(die, lease=timedelta(seconds=1)).process_due()
    _, attempts, _ = await queue.state("a")
    assert await queue.seconds_until_due("a") <= 1
    async with running(queue.worker(process, poll=0.05)):
        await until(lambda: _has_ended(queue, 1))

    assert attempts > 0
    assert await queue.state("a") == ("done", attempts + 1, None)


async def test_who_ends_an_item_after_the_lease_changes_nothing_once_somebody_else_has_claimed_it(queue: Queue) -> None:
    await queue.add("a")
    claimed_twice, ended_late = asyncio.Event(), asyncio.Event()
    outcomes: list[bool] = []

    async def slow(claimed: Claimed[Item]) -> None:
        await claimed_twice.wait()
        outcomes.append(await queue.end(claimed, "late"))
        ended_late.set()

    async def second(claimed: Claimed[Item]) -> None:
        claimed_twice.set()
        await ended_late.wait()
        outcomes.append(await queue.end(claimed, "in time"))

    first_try = asyncio.create_task(queue.worker(slow).process_due())
    await until(lambda: _is_claimed(queue, "a"))
    await queue.let_time_pass()
    await queue.worker(second).process_due()
    await first_try

    assert outcomes == [False, True]
    assert await queue.state("a") == ("in time", 2, None)


@pytest.mark.parametrize("late", [Unavailable("later"), DeadLetter("never"), timedelta(seconds=10)], ids=repr)
async def test_whatever_becomes_of_an_item_whose_claim_is_lost_changes_nothing(
    queue: Queue, late: Exception | timedelta
) -> None:
    await queue.add("a")

    async def process(claimed: Claimed[Item]) -> timedelta:
        await queue.let_time_pass()
        assert await claim(queue, limit=1) == ["a"]  # somebody else
        if isinstance(late, Exception):
            raise late
        return late

    await queue.worker(process, concurrency=1).process_due()

    assert await queue.state("a") == (None, 2, None)
    assert await queue.seconds_until_due("a") > 50


async def test_a_stop_lets_what_is_in_progress_end_and_begins_nothing_more(queue: Queue) -> None:
    await queue.add("a", "b", "c")
    begun, go_on = asyncio.Barrier(3), asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        await begun.wait()
        await go_on.wait()
        await queue.end(claimed)

    task = asyncio.create_task(queue.worker(process, concurrency=2).run())
    await begun.wait()
    task.cancel()
    await settle()
    assert not task.done()
    go_on.set()
    await asyncio.wait([task])

    assert len(await queue.pending()) == 1
    assert [await queue.state(name) for name in await queue.pending()] == [(None, 0, None)]


async def test_what_is_in_progress_after_the_grace_is_released(queue: Queue) -> None:
    await queue.add("a")
    begun = asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(queue.worker(process, grace=0.01)):
        await begun.wait()

    assert await queue.state("a") == (None, 0, None)
    assert await queue.seconds_until_due("a") <= 0


async def test_what_took_effect_is_not_released_when_the_worker_stops_before_that_is_recorded(queue: Queue) -> None:
    await queue.add("a")
    recording = asyncio.Event()

    async def record() -> bool:
        recording.set()
        return await asyncio.Event().wait()

    async with running(queue.worker(lambda claimed: _answer(record), grace=0.01)):
        await recording.wait()

    assert await queue.state("a") == (None, 1, None)
    assert await queue.seconds_until_due("a") > 30


@pytest.mark.parametrize("committed", [False, True], ids=["before_the_commit", "after_the_commit"])
async def test_what_took_effect_is_recorded_when_the_database_is_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(due_worker, "RECORD_INTERVAL", 0.0)
    await queue.add("a")
    answers: list[bool] = []
    processed = 0

    async def process(claimed: Claimed[Item]) -> Callable[[], Awaitable[bool]]:
        nonlocal processed
        processed += 1

        async def record() -> bool:
            if len(answers) < 3:
                answers.append(await queue.end(claimed) if committed else False)
                raise DatabaseAway("broken off")
            answers.append(await queue.end(claimed))
            return False

        return record

    await queue.worker(process).process_due()

    assert processed == 1
    assert answers == ([True, False, False, False] if committed else [False, False, False, True])
    assert await queue.state("a") == ("done", 1, None)


async def test_what_could_not_be_recorded_while_the_lease_lasted_is_processed_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_worker, "RECORD_INTERVAL", 0.05)
    await queue.add("a")
    attempts: list[int] = []

    async def process(claimed: Claimed[Item]) -> Callable[[], Awaitable[bool]] | None:
        async def record() -> bool:
            raise DatabaseAway("it stays away")

        attempts.append(claimed.attempt)
        if claimed.attempt == 1:
            return record
        await queue.end(claimed)
        return None

    async with running(queue.worker(process, lease=timedelta(seconds=1.5), poll=0.02)):
        await until(lambda: _has_ended(queue, 1))

    assert attempts == [1, 2]
    assert await queue.state("a") == ("done", 2, None)


async def test_a_failed_attempt_is_recorded_when_the_database_is_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_worker, "RECORD_INTERVAL", 0.0)
    await queue.add("a")
    reschedule, breaks = DueTable.reschedule, [DatabaseAway("broken off")]

    async def break_off(table: DueTable[Item], *arguments: Any, **options: Any) -> bool:
        if breaks:
            raise breaks.pop()
        return await reschedule(table, *arguments, **options)

    async def fail(claimed: Claimed[Item]) -> None:
        raise Unavailable("later")

    monkeypatch.setattr(DueTable, "reschedule", break_off)
    await queue.worker(fail).process_due()

    assert await queue.state("a") == (None, 1, "later")
    assert await queue.seconds_until_due("a") > 50


class Looks:
    """Counts how often workers look at what is due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limits: list[int] = []
        self._claim = DueTable.claim
        monkeypatch.setattr(DueTable, "claim", self._count(self._claim))

    def _count(self, claim: Any) -> Any:
        async def counted(table: DueTable[Item], connection: Any, *, limit: int, lease: timedelta) -> Any:
            claimed = await claim(table, connection, limit=limit, lease=lease)
            self.limits.append(limit)
            return claimed

        return counted

    async def have_been(self, count: int) -> None:
        await until(lambda: _answer(len(self.limits) >= count))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


async def test_a_worker_looks_at_its_start_and_when_it_is_woken(queue: Queue, looks: Looks) -> None:
    worker = queue.worker(lambda claimed: _answer(None), concurrency=3)

    async with running(worker):
        await looks.have_been(1)
        await settle()
        worker.wake()
        worker.wake()
        await looks.have_been(2)
        await settle()

    assert looks.limits == [3, 3]


async def test_a_worker_looks_again_after_an_item_only_if_more_may_be_due(queue: Queue, looks: Looks) -> None:
    ended: list[str] = []

    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)
        ended.append(claimed.key)

    worker = queue.worker(process, concurrency=2)
    await queue.add("a")
    async with running(worker):
        await until(lambda: _answer(ended == ["a"]))
        await settle()
        assert looks.limits == [2]
        await queue.add("b", "c", "d")
        worker.wake()
        await until(lambda: _has_ended(queue, 4))


async def test_a_wake_while_all_slots_are_taken_is_not_lost(queue: Queue) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        begun.set()
        await go_on.wait()
        await queue.end(claimed)

    worker = queue.worker(process, concurrency=1)
    await queue.add("a")
    async with running(worker):
        await begun.wait()
        await queue.add("b")
        worker.wake()
        await settle()
        go_on.set()
        await until(lambda: _has_ended(queue, 2))


async def test_what_becomes_due_because_another_item_ended_is_processed_at_once(queue: Queue) -> None:
    await queue.add("first")
    await queue.add("second", after="first")

    async def process(claimed: Claimed[Item]) -> Callable[[], Awaitable[bool]]:
        async def record() -> bool:
            await queue.end(claimed)
            return claimed.key == "first"

        return record

    async with running(queue.worker(process, poll=1_000)):
        await until(lambda: _has_ended(queue, 2))


async def test_what_nobody_woke_the_worker_for_is_found_at_the_next_look(queue: Queue, looks: Looks) -> None:
    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)

    async with running(queue.worker(process, poll=0.05)):
        await looks.have_been(1)
        await queue.add("a")
        await until(lambda: _has_ended(queue, 1))


async def test_a_worker_goes_on_when_the_database_is_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue.add("a")
    problems: list[Exception] = [DatabaseAway("broken off"), KeyError("a defect")]
    claim_it = DueTable.claim

    async def break_off(table: DueTable[Item], *arguments: Any, **options: Any) -> Sequence[Claimed[Item]]:
        if problems:
            raise problems.pop()
        return await claim_it(table, *arguments, **options)

    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)

    monkeypatch.setattr(DueTable, "claim", break_off)
    async with running(queue.worker(process, poll=0.02)):
        await until(lambda: _has_ended(queue, 1))


async def _answer(value: Any) -> Any:
    return value


async def _has_ended(queue: Queue, count: int) -> bool:
    return await fetch_rows(queue.database, "SELECT count(*) FROM items WHERE ended_at IS NOT NULL") >= [(count,)]


async def _has_failed(queue: Queue, count: int) -> bool:
    return await fetch_rows(queue.database, "SELECT count(*) FROM items WHERE last_error IS NOT NULL") >= [(count,)]


async def _is_claimed(queue: Queue, name: str) -> bool:
    return (await queue.state(name))[1] > 0


async def test_each_attempt_goes_on_in_the_trace_in_which_the_item_became_due(queue: Queue) -> None:
    seen: list[str | None] = []

    async def process(claimed: Claimed[Item]) -> None:
        seen.append(tracing.current_traceparent())
        if claimed.attempt == 1:
            raise Unavailable("come again")
        await queue.end(claimed)

    with recording() as spans:
        with tracing.span("cause"):
            await queue.add_traced("a")
        worker = queue.worker(process)
        await worker.process_due()
        await queue.let_time_pass()
        await worker.process_due()

    cause = spans.named("cause")
    first, second = [span for span in spans.all() if span.name == "process tests"]
    assert {parent_of(span) for span in (first, second)} == {id_of(cause)}
    assert [id_of(span) for span in (first, second)] == [str(each).split("-")[2] for each in seen]
    assert [(span.attributes or {}).get("ordersaga.attempt") for span in (first, second)] == [1, 2]
    assert [(span.status.status_code, (span.attributes or {}).get("error.type")) for span in (first, second)] == [
        (StatusCode.ERROR, "Unavailable"),
        (StatusCode.UNSET, None),
    ]


async def test_what_became_due_while_traces_were_off_begins_a_trace(queue: Queue) -> None:
    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)

    await queue.add_traced("a")
    with recording() as spans, tracing.span("around"):
        await queue.worker(process).process_due()

    assert parent_of(spans.named("process tests")) == ""


ADD = f"""
    WITH claimed AS (
        INSERT INTO items (name, attempts, next_attempt_at, traceparent)
        SELECT name, (number <= %(claims)s)::int,
               now() + CASE WHEN number <= %(claims)s THEN %(lease)s ELSE interval '0' END, %(traceparent)s::text
          FROM unnest(%(names)s::text[]) WITH ORDINALITY AS new (name, number)
        RETURNING *
    )
    {ITEMS.select_claimed}
"""  # noqa: S608 - constants


def storing(queue: Queue, *names: str) -> Store[Item]:
    """Stores items as services do whose worker is in the same process."""

    async def store(claims: int, lease: timedelta) -> Stored[Item]:
        async with queue.database.autocommit() as connection:
            return await ITEMS.store(connection, ADD, names=list(names), claims=claims, lease=lease)

    return store


async def has_looked(queue: Queue, worker: DueWorker[Item]) -> bool:
    """Whether its first look is over: until then all room is kept for what that finds."""
    return queue.claims() > 0 and not worker._kept_free


async def are_done(queue: Queue, count: int) -> bool:
    [[done]] = await fetch_rows(queue.database, "SELECT count(*) FROM items WHERE ended_at IS NOT NULL")
    return bool(done == count)


async def is_idle(worker: DueWorker[Item]) -> bool:
    return worker.in_progress == 0


async def has(processed: Sequence[str], count: int) -> bool:
    return len(processed) == count


async def test_what_is_stored_where_there_is_room_is_claimed_with_that_and_nobody_looks_for_it(queue: Queue) -> None:
    done = asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)
        done.set()

    worker = queue.worker(process)
    async with running(worker):
        await until(partial(has_looked, queue, worker))
        looks = queue.claims()
        await worker.add(storing(queue, "a"), most=1)
        await done.wait()
        await until(partial(is_idle, worker))

    assert await queue.state("a") == ("done", 1, None)
    assert queue.claims() == looks


async def test_what_there_is_no_room_for_is_stored_and_comes_in_its_turn(queue: Queue) -> None:
    free, processed = asyncio.Event(), list[str]()

    async def process(claimed: Claimed[Item]) -> None:
        processed.append(claimed.key)
        await free.wait()
        await queue.end(claimed)

    worker = queue.worker(process, concurrency=2)
    async with running(worker):
        await until(partial(has_looked, queue, worker))
        await worker.add(storing(queue, "a", "b", "c"), most=3)
        await until(partial(has, processed, 2))
        assert (await queue.state("c"))[1] == 0
        free.set()
        await until(partial(has, processed, 3))
        await until(partial(is_idle, worker))

    assert (sorted(processed[:2]), processed[2]) == (["a", "b"], "c")


async def test_several_that_are_stored_at_once_have_no_more_room_than_there_is(queue: Queue) -> None:
    most, free = 0, asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        nonlocal most
        most = max(most, worker.in_progress)
        await free.wait()
        await queue.end(claimed)

    worker = queue.worker(process, concurrency=2)
    async with running(worker):
        await until(partial(has_looked, queue, worker))
        await asyncio.gather(*(worker.add(storing(queue, f"{number}"), most=1) for number in range(6)))
        await settle()
        assert worker.in_progress == 2
        free.set()
        await until(partial(are_done, queue, 6))

    assert most == 2


async def test_what_is_stored_while_the_worker_does_not_run_is_left_to_others(queue: Queue) -> None:
    async def process(claimed: Claimed[Item]) -> None:
        await queue.end(claimed)

    worker = queue.worker(process)
    await worker.add(storing(queue, "a"), most=1)
    assert await queue.state("a") == (None, 0, None)

    assert await worker.process_due() == 1
    assert await queue.state("a") == ("done", 1, None)


async def test_what_a_worker_that_stops_has_just_stored_is_released(queue: Queue) -> None:
    stored, stopped = asyncio.Event(), asyncio.Event()

    async def process(claimed: Claimed[Item]) -> None:
        raise AssertionError(claimed)

    async def store(claims: int, lease: timedelta) -> Stored[Item]:
        answer = await storing(queue, "a")(claims, lease)
        stored.set()
        await stopped.wait()
        return answer

    worker = queue.worker(process)
    async with running(worker):
        await until(partial(has_looked, queue, worker))
        adding = asyncio.create_task(worker.add(store, most=1))
        await stored.wait()
    stopped.set()
    await adding

    assert await queue.state("a") == (None, 0, None)
    assert await queue.seconds_until_due("a") <= 0
