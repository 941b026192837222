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

from runtime.backoff import Backoff, Retries
from runtime.connecting import with_keepalives
from runtime.kafka import Publisher
from runtime.listener import Listener
from runtime.metrics import OUTBOX_LAG_SECONDS
from runtime.outbox import OUTBOX_CHANNEL
from workers.relay.batches import OutgoingBatch, pack
from workers.relay.database import OutboxDatabase, OutboxRow
from workers.relay.moves import AskForLease, Mark, Pause, ReadAndSend, Wait, next_move
from workers.relay.state import RelayState, SentBatch

log = structlog.stdlib.get_logger(__name__)

_RECONNECT: Final = Backoff(first=0.1, longest=2.0)
_TIMER_SECONDS: Final = 0.001
"""The steps in which the event loop's timers count: they may be early by less than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sending:
    """A batch, and what the state knows it by."""

    batch: OutgoingBatch
    sent: SentBatch


class DatabaseRelay:
    """Publishes one service's outbox, in order per key, each row at least once.

    A key has one batch in flight at most. When one fails, its keys start again from their lowest unpublished rows,
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
        self._state = RelayState()
        self._sending: dict[asyncio.Task[None], _Sending] = {}
        self._wake = asyncio.Event()
        self.reached = asyncio.Event()
        """Set once the database has answered."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Relay until `stopping` is set; what is in flight then is waited for, up to the grace."""
        retries = Retries(_RECONNECT)
        try:
            async with Listener(self._dsn, channel=OUTBOX_CHANNEL, on_wake=lambda _: self._on_new_rows()):
                while not stopping.is_set():
                    try:
                        async with await self._connect() as connection:
                            self.reached.set()
                            retries.succeeded()
                            await self._relay(OutboxDatabase(connection, holder=self._holder), stopping)
                    except psycopg.OperationalError as error:
                        self._log.warning("relay.database_away", error=str(error))
                        await _wait(stopping, seconds=retries.failed())
        finally:
            for task in self._sending:
                task.cancel()

    async def _connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(with_keepalives(self._dsn), autocommit=True)

    def _on_new_rows(self) -> None:
        self._state.notified()
        self._wake.set()

    async def _relay(self, database: OutboxDatabase, stopping: asyncio.Event) -> None:
        stop = asyncio.create_task(stopping.wait())
        stop.add_done_callback(lambda _: self._wake.set())
        self._state.connected()
        try:
            while not stopping.is_set():
                self._wake.clear()
                self._settle()
                await self._move(database)
            if self._sending:
                await asyncio.wait(self._sending, timeout=self._grace)
            self._settle()
            await self._mark(database)
            if self._state.lease.epoch is not None:
                await database.release(epoch=self._state.lease.epoch)
        finally:
            stop.cancel()

    async def _move(self, database: OutboxDatabase) -> None:
        match next_move(self._state, now=_now() + _TIMER_SECONDS):
            case AskForLease():
                await self._ask_for_lease(database)
            case ReadAndSend() as move:
                await self._read_and_send(database, move)
            case Mark():
                await self._mark(database)
            case Pause(until=until):
                await asyncio.sleep(until - _now())
            case Wait(until=until):
                await _wait(self._wake, seconds=until - _now())

    async def _ask_for_lease(self, database: OutboxDatabase) -> None:
        before, asked_at = self._state.lease.epoch, _now()
        epoch = await database.hold(epoch=before)
        if self._state.lease_answered(epoch, asked_at=asked_at):
            self._log.info("relay.lease", epoch=epoch, before=before)

    def _settle(self) -> None:
        """Note which batches were acknowledged, and which were not.

        Raises:
            Exception: whatever sending raised that is no error of Kafka's: a defect.
        """
        now = _now()
        for task in [task for task in self._sending if task.done()]:
            sending, error = self._sending.pop(task), task.exception()
            sending.batch.end_spans(error)
            if error is None:
                self._state.batch_acknowledged(sending.sent, now=now)
                self._note_lag(sending.batch)
            elif isinstance(error, KafkaError):
                batch = sending.batch
                self._log.warning("relay.not_sent", topic=batch.topic, rows=len(batch.rows), error=repr(error))
                self._state.batch_failed(sending.sent, now=now)
            else:
                raise error

    def _note_lag(self, batch: OutgoingBatch) -> None:
        acknowledged_at = datetime.now(UTC)
        for row in batch.rows:
            self._lag.observe((acknowledged_at - row.at).total_seconds())

    async def _read_and_send(self, database: OutboxDatabase, move: ReadAndSend) -> None:
        self._state.reading(_now())
        rows = await self._read(database, move)
        try:
            batches = await pack(self._publisher, rows, source=self._source)
        except KafkaError as error:
            self._log.debug("relay.broker_away", error=repr(error))
            self._state.broker_away(_now())
            return
        epoch = self._state.lease.epoch
        if epoch is None or not self._state.lease.is_valid(_now()):  # it may have ended while PostgreSQL was slow
            self._state.not_sent(_now())
            return
        sent = [self._send(batch, epoch=epoch) for batch in batches]
        self._state.sent(sent, rows=len(rows), limit=move.limit, skipped=bool(move.without), now=_now())

    def _send(self, batch: OutgoingBatch, *, epoch: int) -> SentBatch:
        ids, keys = [row.id for row in batch.rows], {(row.topic, row.key) for row in batch.rows}
        sent = SentBatch(epoch=epoch, ids=ids, keys=keys)
        task = asyncio.create_task(self._publisher.send(batch.builder, topic=batch.topic, partition=batch.partition))
        self._sending[task] = _Sending(batch=batch, sent=sent)
        task.add_done_callback(lambda _: self._wake.set())
        return sent

    async def _read(self, database: OutboxDatabase, move: ReadAndSend) -> Sequence[OutboxRow]:
        """What is to be sent next. Whatever waits for its mark gets it in the same statement."""
        epoch, ids = self._state.lease.epoch, self._state.acknowledged.ids
        if epoch is None or not ids:
            return await database.read(limit=move.limit, without=move.without)
        rows = await database.mark_and_read(ids, epoch=epoch, limit=move.limit, without=move.without)
        self._note_marked(held=rows is not None)
        return rows or ()

    async def _mark(self, database: OutboxDatabase) -> None:
        epoch, ids = self._state.lease.epoch, self._state.acknowledged.ids
        if epoch is not None and ids:
            self._note_marked(held=await database.mark_published(ids, epoch=epoch))
            self._state.end_round(_now())

    def _note_marked(self, *, held: bool) -> None:
        if not held:
            self._log.warning("relay.lease_lost", rows=len(self._state.acknowledged.ids))
        self._state.marked(held=held)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _wait(event: asyncio.Event, *, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
