"""The relay's decision against any sequence of events, in simulated time: PostgreSQL, Kafka, and another relay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from workers.relay import moves
from workers.relay.moves import AskForLease, Mark, Pause, ReadAndSend, Wait, next_move
from workers.relay.state import (
    BROKER_SECONDS,
    KEY_BACKOFF,
    LEASE_SECONDS,
    POLL_SECONDS,
    RENEW_SECONDS,
    ROUND_SECONDS,
    Key,
    RelayState,
    SentBatch,
)

KEYS: Sequence[Key] = [("orders", name) for name in "abcd"]
BATCH_ROWS = 2
"""As many rows fit into a batch."""
PHASES = (Phase.generate, Phase.shrink)
"""Without an explanation of why it fails, which takes minutes."""

READ_LIMIT = 4
MAX_ROWS_IN_FLIGHT = 5

ANSWER_SECONDS = st.sampled_from([0.0, 0.01, 0.5, LEASE_SECONDS, LEASE_SECONDS + 1])


@dataclass(eq=False)
class Flight:
    """A batch between us and a broker; of a broker that has gone meanwhile, only its answer is left."""

    sent: SentBatch
    broker: int


class Relaying(RuleBasedStateMachine):
    """A relay that executes its moves as `workers.relay.loop` does."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.state = RelayState()
        self.state.connected()
        # PostgreSQL
        self.rows: dict[int, Key] = {}
        self.published: set[int] = set()
        self.epoch = 0
        self.ours = False
        self.expires_at = 0.0
        # Kafka
        self.broker = 0
        self.broker_is_up = True
        self.log: list[int] = []
        self.flights: list[Flight] = []
        self.idle_moves = 0

    # -- What happens around it -------------------------------------------------------------------------------------

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 4), notified=st.booleans())
    def rows_are_added(self, key: Key, count: int, notified: bool) -> None:
        self.add_rows(key, count=count, notified=notified)

    def add_rows(self, key: Key, *, count: int, notified: bool) -> None:
        for number in range(len(self.rows), len(self.rows) + count):
            self.rows[number] = key
        if notified:
            self.state.notified()

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), outcome=st.sampled_from(["acknowledged", "stored, and not acknowledged", "not stored"]))
    def a_batch_ends(self, data: st.DataObject, outcome: str) -> None:
        flight = data.draw(st.sampled_from(self.flights))
        self.end(flight, stored=outcome != "not stored", acknowledged=outcome == "acknowledged")

    @rule()
    def the_broker_goes_or_comes_back(self) -> None:
        self.broker_is_up = not self.broker_is_up

    @rule()
    def the_broker_is_replaced_by_an_empty_one(self) -> None:
        """As `sandbox.setup.publish_again` has it: everything is to be published again, and the lease is void."""
        self.published.clear()
        self.epoch += 1
        self.broker += 1
        self.log.clear()

    @rule(sent=st.integers(0, 8), marked=st.integers(0, 8))
    def another_relay_takes_over_if_it_can(self, sent: int, marked: int) -> None:
        if self.broker_is_up and self.now >= self.expires_at:
            self.ours, self.epoch, self.expires_at = False, self.epoch + 1, self.now + LEASE_SECONDS
            unpublished = [number for number in self.rows if number not in self.published][:sent]
            self.store(unpublished)
            self.published.update(unpublished[:marked])

    @rule()
    def the_connection_to_postgresql_breaks(self) -> None:
        self.state.connected()
        self.idle_moves = 0

    # -- Its moves --------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 6), answer_seconds=ANSWER_SECONDS, waited=st.sampled_from([1.0, 0.3]))
    def it_moves(self, count: int, answer_seconds: float, waited: float) -> None:
        for _ in range(count):
            self.move(answer_seconds=answer_seconds, waited=waited)

    def move(self, *, answer_seconds: float, waited: float) -> None:
        """Execute the next move.

        Args:
            answer_seconds: how long PostgreSQL takes.
            waited: the part of a wait after which something wakes it.
        """
        move = next_move(self.state, now=self.now)
        match move:
            case AskForLease():
                self.ask_for_lease(answer_seconds)
            case ReadAndSend():
                self.read_and_send(move, answer_seconds)
            case Mark():
                self.mark(answer_seconds)
            case Pause(until=until):
                assert self.now < until <= self.now + ROUND_SECONDS
                self.pass_time(until - self.now)
            case Wait(until=until):
                self.check_nothing_is_due_before(until)
                self.pass_time((until - self.now) * waited)
        self.check_it_gets_on(move)

    def ask_for_lease(self, answer_seconds: float) -> None:
        asked_at = self.now
        if self.is_held(self.state.lease.epoch):
            answer: int | None = self.epoch
        elif self.ours or self.now >= self.expires_at:
            self.ours, self.epoch = True, self.epoch + 1
            answer = self.epoch
        else:
            answer = None
        if answer is not None:
            self.expires_at = self.now + LEASE_SECONDS
        self.wait_for_answer(answer_seconds)
        self.state.lease_answered(answer, asked_at=asked_at)

    def read_and_send(self, move: ReadAndSend, answer_seconds: float) -> None:
        assert self.state.lease.is_valid(self.now)
        assert move.limit > 0
        self.state.reading(self.now)
        if self.state.acknowledged.ids and not self.mark_in_database():
            return
        rows = [n for n, key in self.rows.items() if n not in self.published and key not in move.without][: move.limit]
        self.wait_for_answer(answer_seconds)
        if rows and not self.broker_is_up:
            self.state.broker_away(self.now)
        elif not self.state.lease.is_valid(self.now):
            self.state.not_sent(self.now)
        else:
            batches = [self.send(batch) for batch in self.pack(rows)]
            self.state.sent(batches, rows=len(rows), limit=move.limit, skipped=bool(move.without), now=self.now)
        assert self.state.in_flight.rows <= MAX_ROWS_IN_FLIGHT

    def pack(self, rows: Sequence[int]) -> list[list[int]]:
        partitions = defaultdict[int, list[int]](list)
        for number in rows:
            partitions[KEYS.index(self.rows[number]) % 2].append(number)
        return [batch[:BATCH_ROWS] for batch in partitions.values()]

    def send(self, numbers: Sequence[int]) -> SentBatch:
        keys = frozenset(self.rows[number] for number in numbers)
        assert not any(keys & flight.sent.keys for flight in self.flights), "a key has two batches in flight"
        assert self.ours, "sent, although another relay has the lease"
        assert self.state.lease.epoch is not None
        sent = SentBatch(epoch=self.state.lease.epoch, ids=numbers, keys=keys)
        self.flights.append(Flight(sent, self.broker))
        self.idle_moves = 0
        return sent

    def mark(self, answer_seconds: float) -> None:
        assert self.state.lease.is_valid(self.now)
        assert self.state.acknowledged.ids
        self.mark_in_database()
        self.wait_for_answer(answer_seconds)
        self.state.end_round(self.now)

    def mark_in_database(self) -> bool:
        held = self.is_held(self.state.lease.epoch)
        if held:
            self.published.update(self.state.acknowledged.ids)
            lost = self.published - set(self.log)
            assert not lost, f"marked, and not in Kafka: {lost}"
        self.state.marked(held=held)
        return held

    def is_held(self, epoch: int | None) -> bool:
        return self.ours and epoch == self.epoch and self.now < self.expires_at

    def end(self, flight: Flight, *, stored: bool, acknowledged: bool) -> None:
        self.flights.remove(flight)
        if stored and flight.broker == self.broker:
            self.store(flight.sent.ids)
        if acknowledged:
            self.state.batch_acknowledged(flight.sent, now=self.now)
        else:
            self.state.batch_failed(flight.sent, now=self.now)

    def store(self, numbers: Sequence[int]) -> None:
        self.log.extend(numbers)
        for key in KEYS:
            found = list(dict.fromkeys(number for number in self.log if self.rows[number] == key))
            assert found == [number for number in self.rows if self.rows[number] == key][: len(found)], "out of order"

    def wait_for_answer(self, seconds: float) -> None:
        """PostgreSQL takes its time; another relay does not, once the lease is over."""
        self.pass_time(seconds)
        if seconds > 0:
            self.another_relay_takes_over_if_it_can(sent=1, marked=1)

    def pass_time(self, seconds: float) -> None:
        if seconds > 0:
            self.now += seconds
            self.idle_moves = 0

    # -- What holds -------------------------------------------------------------------------------------------------

    def check_nothing_is_due_before(self, until: float) -> None:
        assert until > self.now
        for part in (0.01, 0.3, 0.7, 0.99):
            between = self.now + (until - self.now) * part
            assert between == until or next_move(self.state, now=between) == Wait(until=until)  # no time lies between
        assert not isinstance(next_move(self.state, now=until), Wait)

    def check_it_gets_on(self, move: object) -> None:
        """Without sending anything, only few moves are made at once: for the lease, for a reading, for a mark."""
        self.idle_moves += 1
        assert self.idle_moves <= 3, f"busy without end: {move}"

    def teardown(self) -> None:
        """Once all is well, all is published, soon: whatever has happened, and whether it was notified or not."""
        self.broker_is_up = True
        self.publish_everything()
        for notified in (False, True):
            self.add_rows(KEYS[0], count=3, notified=notified)
            self.publish_everything()

    def publish_everything(self) -> None:
        limit = self.now + LEASE_SECONDS + RENEW_SECONDS + KEY_BACKOFF.longest + POLL_SECONDS + BROKER_SECONDS
        limit += len(self.rows) * 2 * ROUND_SECONDS
        while len(self.published) < len(self.rows):
            assert self.now < limit, f"still unpublished: {self.rows.keys() - self.published}"
            self.move(answer_seconds=0.0, waited=1.0)
            for flight in list(self.flights):
                self.end(flight, stored=True, acknowledged=True)


def test_whatever_happens_order_and_lease_hold_and_everything_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "READ_LIMIT", READ_LIMIT)
    monkeypatch.setattr(moves, "MAX_ROWS_IN_FLIGHT", MAX_ROWS_IN_FLIGHT)
    run_state_machine_as_test(Relaying, settings=settings(max_examples=200, stateful_step_count=80, phases=PHASES))
