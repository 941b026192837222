"""Relays one database's outbox: reads, sends, marks, again and again, as long as the lease is held."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog
from aiokafka.errors import KafkaError

from runtime.database import Listener
from runtime.kafka import Publisher
from runtime.metrics import OUTBOX_LAG_SECONDS
from runtime.outbox import OUTBOX_CHANNEL
from workers.relay_batches import OutgoingBatch, pack
from workers.relay_outbox import LEASE_SECONDS, Key, OutboxRow, RelayedDatabase

log = structlog.stdlib.get_logger(__name__)

POLL_SECONDS: Final = 1.0
ROUND_SECONDS: Final = 0.02
"""From one round of reading, sending and marking to the next: what happens meanwhile costs one round together."""
MARK_SECONDS: Final = 0.2
"""How long a row that Kafka has waits for a reading to be marked with, which costs no statement of its own then.
A relay that dies meanwhile has it published again, as one that dies between the acknowledgement and the mark."""
READ_LIMIT: Final = 500
MAX_ROWS_UNDER_WAY: Final = 2_000
_RENEW_SECONDS: Final = LEASE_SECONDS / 4
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_BROKER_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Rest:
    """A key whose last batch failed waits until then; the next failure makes it wait twice as long."""

    until: float
    pause: float


class DatabaseRelay:
    """Publishes one service's outbox, in order per key, each row at least once.

    A key has one batch under way at most. When one fails, its keys start again from their lowest unpublished rows,
    after a pause, while other keys go on.
    """

    def __init__(self, *, service: str, dsn: str, holder: str, publisher: Publisher, grace: float) -> None:
        self._dsn = dsn
        self._holder = holder
        self._publisher = publisher
        self._grace = grace
        self._source = f"/ordersaga/{service}"
        self._log = log.bind(database=service)
        self._lag = OUTBOX_LAG_SECONDS.labels(service)
        self._wake = asyncio.Event()
        self._look = True
        """Whether there may be rows that have not been read."""
        self._left_some = False
        """Whether the last read left rows out, for whatever cause."""
        self._broker_away_until = 0.0
        self._under_way: dict[asyncio.Task[None], tuple[OutgoingBatch, int | None]] = {}
        self._resting: dict[Key, _Rest] = {}
        self._acknowledged: list[int] = []
        """Ids of rows that Kafka has, sent under the lease that we hold, and not marked yet."""
        self._mark_at = 0.0
        self._looked_at = 0.0
        """When the last round began: what has become due since is for the next one."""
        self.reached = asyncio.Event()
        """Set once the database has answered."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Relay until told to stop; what is under way then is waited for, up to the grace."""
        pause = _FIRST_PAUSE
        try:
            async with Listener(self._dsn, channel=OUTBOX_CHANNEL, on_wake=lambda _: self._on_new_rows()):
                while not stopping.is_set():
                    try:
                        async with await self._connect() as connection:
                            self.reached.set()
                            pause = _FIRST_PAUSE
                            await self._relay(RelayedDatabase(connection, holder=self._holder), stopping)
                    except psycopg.OperationalError as error:
                        self._log.warning("relay.database_away", error=str(error))
                        await _wait(stopping, seconds=pause)
                        pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            for task in self._under_way:
                task.cancel()

    async def _connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5)

    def _on_new_rows(self) -> None:
        self._look = True
        self._wake.set()

    async def _relay(self, database: RelayedDatabase, stopping: asyncio.Event) -> None:
        stop = asyncio.create_task(stopping.wait())
        stop.add_done_callback(lambda _: self._wake.set())
        loop = asyncio.get_running_loop()
        renew_at = poll_at = 0.0
        try:
            while not stopping.is_set():
                self._wake.clear()
                now = loop.time()
                if now >= renew_at:
                    await self._hold(database)
                    renew_at = now + _RENEW_SECONDS
                if now >= poll_at:
                    self._look = True
                    poll_at = now + POLL_SECONDS
                self._settle(database)
                more = await self._mark_and_send(database)
                if not more:
                    await asyncio.sleep(ROUND_SECONDS)
                    await _wait(self._wake, seconds=self._patience(renew_at, poll_at))
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=self._grace)
            self._settle(database)
            await self._mark(database)
            await database.release()
        finally:
            stop.cancel()

    async def _hold(self, database: RelayedDatabase) -> None:
        before = database.epoch
        await database.hold()
        if database.epoch != before:
            self._log.info("relay.lease", epoch=database.epoch, before=before)
            self._resting.clear()
            self._acknowledged.clear()
            self._look = True

    def _settle(self, database: RelayedDatabase) -> None:
        """Note what was acknowledged; let the keys of what was not rest."""
        now = asyncio.get_running_loop().time()
        done = [task for task in self._under_way if task.done()]
        for task in done:
            batch, epoch = self._under_way[task]
            error = task.exception()
            if error is None:
                self._note_lag(batch)
                for key in batch.keys:
                    self._resting.pop(key, None)
                if epoch == database.epoch:
                    self._mark_at = self._mark_at if self._acknowledged else now + MARK_SECONDS
                    self._acknowledged += batch.ids
            elif isinstance(error, KafkaError):
                self._log.warning("relay.not_sent", topic=batch.topic, rows=len(batch.ids), error=repr(error))
                self._let_rest(batch)
            else:
                raise error
        for task in done:
            del self._under_way[task]
        if done and self._left_some:
            self._look = True

    def _note_lag(self, batch: OutgoingBatch) -> None:
        acknowledged_at = datetime.now(UTC)
        for written_at in batch.written_at:
            self._lag.observe((acknowledged_at - written_at).total_seconds())

    async def _mark_and_send(self, database: RelayedDatabase) -> bool:
        """Send what may be sent now, and mark what was; whether there may be more to send."""
        now = asyncio.get_running_loop().time()
        limit = min(READ_LIMIT, MAX_ROWS_UNDER_WAY - sum(len(batch.ids) for batch, _ in self._under_way.values()))
        self._looked_at = now
        wanted = self._look or self._rest_is_over(now)
        if not wanted or not database.may_publish or limit <= 0 or now < self._broker_away_until:
            if now >= self._mark_at:
                await self._mark(database)
            return False
        self._look = False
        not_now = self._not_now(now)
        rows = await self._read(database, limit=limit, without=not_now)
        try:
            batches = await pack(self._publisher, rows, source=self._source)
        except KafkaError as error:
            self._log.debug("relay.broker_away", error=repr(error))
            self._broker_away_until = now + _BROKER_PAUSE
            self._look = True
            return False
        for batch in batches:
            sending = self._publisher.send(batch.builder, topic=batch.topic, partition=batch.partition)
            task = asyncio.create_task(sending)
            self._under_way[task] = (batch, database.epoch)
            task.add_done_callback(lambda _: self._wake.set())
        more = len(rows) == limit or sum(len(batch.ids) for batch in batches) < len(rows)
        self._look = self._look or more
        self._left_some = bool(not_now) or more
        return more

    async def _read(self, database: RelayedDatabase, *, limit: int, without: set[Key]) -> Sequence[OutboxRow]:
        """What is to be sent next. Whatever waits for its mark gets it in the same statement."""
        if not self._acknowledged:
            return await database.read(limit=limit, without=without)
        rows = await database.mark_and_read(self._acknowledged, limit=limit, without=without)
        self._note_marked(held=rows is not None)
        return rows or ()

    async def _mark(self, database: RelayedDatabase) -> None:
        if self._acknowledged and database.epoch is not None:
            self._note_marked(held=await database.mark_published(self._acknowledged))

    def _note_marked(self, *, held: bool) -> None:
        if not held:
            self._log.warning("relay.lease_lost", rows=len(self._acknowledged))
        self._acknowledged.clear()

    def _not_now(self, now: float) -> set[Key]:
        """The keys that must not be sent: they have a batch under way, or one of theirs failed a moment ago."""
        resting = {key for key, rest in self._resting.items() if rest.until > now}
        return resting.union(*(batch.keys for batch, _ in self._under_way.values()))

    def _rest_is_over(self, now: float) -> bool:
        """Whether a key that failed may be tried again; one that is being tried wakes us when that ends."""
        over = [key for key, rest in self._resting.items() if rest.until <= now]
        return bool(over) and not self._not_now(now).issuperset(over)

    def _let_rest(self, batch: OutgoingBatch) -> None:
        now = asyncio.get_running_loop().time()
        for key in batch.keys:
            rest = self._resting.get(key)
            pause = _FIRST_PAUSE if rest is None else min(rest.pause * 2, _LONGEST_PAUSE)
            self._resting[key] = _Rest(until=now + pause, pause=pause)

    def _patience(self, *dues: float) -> float:
        """Seconds until something is due that nobody wakes us for."""
        now = asyncio.get_running_loop().time()
        later = [self._broker_away_until, self._mark_at, *(rest.until for rest in self._resting.values())]
        return max(0.0, min([*dues, *(due for due in later if due > self._looked_at)]) - now)


async def _wait(event: asyncio.Event, *, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
