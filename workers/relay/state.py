"""What the relay of one database knows: its lease, what is in flight, which keys back off, what waits for its mark.

Nothing here reads a clock, waits or asks anybody: each method notes an event. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from runtime.backoff import Backoff, Retries

LEASE_SECONDS: Final = 5.0
"""How long an outbox is left alone after its relay died."""
RENEW_SECONDS: Final = LEASE_SECONDS / 4
POLL_SECONDS: Final = 1.0
ROUND_SECONDS: Final = 0.1
"""From one round of reading, sending and marking to the next: what happens meanwhile costs one round together."""
MARK_SECONDS: Final = 0.2
"""How long an acknowledged row waits for a reading to be marked with, which costs no statement of its own then.
A relay that dies meanwhile has it published again, as one that dies between the acknowledgement and the mark."""
BROKER_SECONDS: Final = 0.2
"""From a failed look at the broker to the next; `Publisher` backs off by itself, and refuses at once until then."""
KEY_BACKOFF: Final = Backoff(first=0.2, longest=2.0)

Key = tuple[str, str]
"""Topic and record key: what order is kept for."""


class Lease:
    """The right to publish from a database, as far as we know; PostgreSQL has the last word at each mark.

    Our clock counts from before the lease was asked for, so it is over here before another relay can have it.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        """Its number, None while it is not ours."""
        self.ask_at = -math.inf
        """When to ask for it, or for its renewal, again."""
        self._held_until = -math.inf

    def is_valid(self, now: float) -> bool:
        """Whether we may send and mark."""
        return self.epoch is not None and now < self._held_until

    def answered(self, epoch: int | None, *, asked_at: float) -> bool:
        """Note what PostgreSQL answered to a request made at `asked_at`; whether that is a change."""
        changed = epoch != self.epoch
        self.epoch = epoch
        self.ask_at = asked_at + RENEW_SECONDS
        self._held_until = asked_at + LEASE_SECONDS
        return changed

    def lost(self) -> None:
        """Note that somebody else has it."""
        self.epoch = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SentBatch:
    """Rows on their way to Kafka, under the lease of that epoch."""

    epoch: int
    ids: Sequence[int]
    keys: AbstractSet[Key]


class InFlight:
    """The batches that Kafka has neither acknowledged nor refused; of a key there is one at most."""

    def __init__(self) -> None:
        self._batches: set[SentBatch] = set()
        self.rows = 0
        """How many rows they hold."""

    @property
    def keys(self) -> set[Key]:
        """The keys that must not be read meanwhile."""
        return set().union(*(batch.keys for batch in self._batches))

    def add(self, batch: SentBatch) -> None:
        """Note that it was sent."""
        self._batches.add(batch)
        self.rows += len(batch.ids)

    def remove(self, batch: SentBatch) -> None:
        """Note that it has ended, one way or the other."""
        self._batches.remove(batch)
        self.rows -= len(batch.ids)


class KeyBackoff:
    """The keys whose last batch failed: they wait, each failure in a row twice as long, while others go on."""

    def __init__(self) -> None:
        self._retries: dict[Key, Retries] = {}
        self._until: dict[Key, float] = {}

    @property
    def next_end(self) -> float:
        """When the first of the waiting keys may be read again; infinite if none waits."""
        return min(self._until.values(), default=math.inf)

    def waiting(self, now: float) -> set[Key]:
        """The keys that must not be read yet."""
        return {key for key, until in self._until.items() if until > now}

    def failed(self, keys: Iterable[Key], *, now: float) -> None:
        """Let the keys of a failed batch wait."""
        for key in keys:
            self._until[key] = now + self._retries.setdefault(key, Retries(KEY_BACKOFF)).failed()

    def succeeded(self, keys: Iterable[Key]) -> None:
        """Forget the failures of the keys of an acknowledged batch."""
        for key in keys:
            self._retries.pop(key, None)

    def read(self, now: float) -> None:
        """Note that the keys that have waited long enough are being read; their failures still count."""
        self._until = {key: until for key, until in self._until.items() if until > now}

    def clear(self) -> None:
        """Forget everything."""
        self._retries.clear()
        self._until.clear()


class Acknowledged:
    """Rows that Kafka has, sent under the lease that we hold, and that are not marked as published yet."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.mark_at = math.inf
        """When they are to be marked if no reading has done it by then; infinite if there are none."""

    def add(self, ids: Collection[int], *, now: float) -> None:
        """Let these rows wait for their mark."""
        if not self.ids:
            self.mark_at = now + MARK_SECONDS
        self.ids.extend(ids)

    def clear(self) -> None:
        """Forget them: they are marked, or another lease's business."""
        self.ids.clear()
        self.mark_at = math.inf


class RelayState:
    """All of it, and what there may be to read."""

    def __init__(self) -> None:
        self.lease = Lease()
        self.in_flight = InFlight()
        self.backoff = KeyBackoff()
        self.acknowledged = Acknowledged()
        self.unread = True
        """Whether there may be rows that have not been read, as far as notifications and readings say."""
        self.left_out = False
        """Whether the last reading left rows out, for whatever cause."""
        self.poll_at = -math.inf
        """When to read although nothing says so: a notification may have been missed."""
        self.broker_retry_at = -math.inf
        self.round_at = -math.inf
        """When the next round may begin."""

    def connected(self) -> None:
        """A new connection: the lease is to be taken anew. What is in flight stays so."""
        self.lease = Lease()
        self._start_over()

    def notified(self) -> None:
        """There are new rows, or there may be."""
        self.unread = True

    def lease_answered(self, epoch: int | None, *, asked_at: float) -> bool:
        """Note the answer to a request for the lease; whether that is a change.

        A new epoch begins with the lowest unpublished rows: others may have published meanwhile.
        """
        changed = self.lease.answered(epoch, asked_at=asked_at)
        if changed:
            self._start_over()
        return changed

    def reading(self, now: float) -> None:
        """A reading begins; what is notified from now on is for the next one."""
        self.unread = False
        self.poll_at = now + POLL_SECONDS
        self.backoff.read(now)

    def sent(self, batches: Sequence[SentBatch], *, rows: int, limit: int, skipped: bool, now: float) -> None:
        """A reading has ended with these batches.

        Args:
            batches: what was sent of it.
            rows: how many rows were read.
            limit: how many could have been.
            skipped: whether keys were left out.
            now: when that was. The next round begins after a pause, unless there is more to send.
        """
        for batch in batches:
            self.in_flight.add(batch)
        more = rows == limit or sum(len(batch.ids) for batch in batches) < rows
        self.unread = self.unread or more
        self.left_out = skipped or more
        if not more:
            self.end_round(now)

    def not_sent(self, now: float) -> None:
        """What was read could not be sent: it is to be read again."""
        self.unread = True
        self.end_round(now)

    def broker_away(self, now: float) -> None:
        """What was read could not be sent, and the broker is to be left alone for a while."""
        self.not_sent(now)
        self.broker_retry_at = now + BROKER_SECONDS

    def marked(self, *, held: bool) -> None:
        """The acknowledged rows are marked; or, if the lease was not held any more, they are another relay's."""
        self.acknowledged.clear()
        if not held:
            self.lease.lost()
            self._start_over()

    def end_round(self, now: float) -> None:
        """Let what happens until the next round gather."""
        self.round_at = now + ROUND_SECONDS

    def batch_acknowledged(self, batch: SentBatch, *, now: float) -> None:
        """Kafka has a batch. Sent under an earlier lease it stays unmarked: its rows may have been taken back since."""
        self._batch_ended(batch)
        self.backoff.succeeded(batch.keys)
        if batch.epoch == self.lease.epoch:
            self.acknowledged.add(batch.ids, now=now)

    def batch_failed(self, batch: SentBatch, *, now: float) -> None:
        """Kafka may or may not have a batch: its keys start again from their lowest unpublished rows, after a pause."""
        self._batch_ended(batch)
        self.backoff.failed(batch.keys, now=now)

    def _batch_ended(self, batch: SentBatch) -> None:
        self.in_flight.remove(batch)
        if self.left_out:
            self.unread = True

    def _start_over(self) -> None:
        self.backoff.clear()
        self.acknowledged.clear()
        self.unread = True
