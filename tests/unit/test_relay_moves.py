"""What the relay does next, from what it knows and the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workers.relay.moves import (
    MAX_ROWS_IN_FLIGHT,
    READ_LIMIT,
    AskForLease,
    Mark,
    Move,
    Pause,
    ReadAndSend,
    Wait,
    next_move,
)
from workers.relay.state import (
    BROKER_SECONDS,
    KEY_BACKOFF,
    LEASE_SECONDS,
    MARK_SECONDS,
    POLL_SECONDS,
    RENEW_SECONDS,
    ROUND_SECONDS,
    Key,
    Lease,
    RelayState,
    SentBatch,
)

T = 1_000.0
"""When the lease was asked for, and the last reading was made."""
ROUND = T + ROUND_SECONDS
"""When the next round may begin."""
RETRY = T + KEY_BACKOFF.first
"""When a key is read again whose batch failed once at T."""
EPOCH = 3

ONE: Key = ("orders", "one")
TWO: Key = ("orders", "two")


def idle() -> RelayState:
    """A relay that has the lease, and has read all there was."""
    state = RelayState()
    state.lease_answered(EPOCH, asked_at=T)
    read(state)
    return state


def read(state: RelayState, *batches: SentBatch, rows: int | None = None, at: float = T) -> None:
    """Read, and send all that was read unless `rows` says how many there were."""
    state.reading(at)
    sent = sum(len(batch.ids) for batch in batches)
    state.sent(batches, rows=sent if rows is None else rows, limit=READ_LIMIT, skipped=False, now=at)


def batch(*keys: Key, rows: int = 1, epoch: int = EPOCH) -> SentBatch:
    return SentBatch(epoch=epoch, ids=range(rows), keys=frozenset(keys))


def in_flight(*batches: SentBatch) -> RelayState:
    state = idle()
    read(state, *batches)
    return state


def notified(state: RelayState) -> RelayState:
    state.notified()
    return state


def acknowledged(*, at: float = T) -> RelayState:
    sent = batch(ONE, rows=2)
    state = in_flight(sent)
    state.batch_acknowledged(sent, now=at)
    return state


def failed(*, times: int = 1) -> RelayState:
    """A relay whose batch failed so often in a row, the last time at T."""
    state = idle()
    for _ in range(times):
        sent = batch(ONE)
        read(state, sent)
        state.batch_failed(sent, now=T)
    return state


def held_by_another() -> RelayState:
    state = RelayState()
    state.lease_answered(None, asked_at=T)
    return state


def broker_away() -> RelayState:
    state = notified(idle())
    state.reading(T)
    state.broker_away(T)
    return state


def lost_at_a_mark() -> RelayState:
    state = acknowledged()
    state.marked(held=False)
    return state


def every_row_in_flight() -> RelayState:
    return notified(in_flight(batch(ONE, rows=MAX_ROWS_IN_FLIGHT)))


EVERYTHING = ReadAndSend(limit=READ_LIMIT, without=frozenset())
POLL = Wait(until=T + POLL_SECONDS)
NEXT_ROUND = Pause(until=ROUND)


MOVES: dict[str, tuple[Callable[[], RelayState], float, Move]] = {
    # the lease
    "at first the lease": (RelayState, T, AskForLease()),
    "held by another": (held_by_another, T, Wait(until=T + RENEW_SECONDS)),
    "held by another, new rows": (lambda: notified(held_by_another()), T + POLL_SECONDS, Wait(until=T + RENEW_SECONDS)),
    "held by another, asked again": (held_by_another, T + RENEW_SECONDS, AskForLease()),
    "renewed before rows are read": (lambda: notified(idle()), T + RENEW_SECONDS, AskForLease()),
    "over, asked for before rows are marked": (acknowledged, T + LEASE_SECONDS, AskForLease()),
    "lost at a mark": (lambda: notified(lost_at_a_mark()), ROUND, Wait(until=T + RENEW_SECONDS)),
    # new rows
    "nothing to do": (idle, ROUND, POLL),
    "a notification may be missed": (idle, T + POLL_SECONDS, EVERYTHING),
    "new rows": (lambda: notified(idle()), ROUND, EVERYTHING),
    "new rows, the round has just been": (lambda: notified(idle()), T, NEXT_ROUND),
    # in flight
    "in flight": (lambda: in_flight(batch(ONE)), ROUND, POLL),
    "in flight, new rows": (
        lambda: notified(in_flight(batch(ONE, TWO))),
        ROUND,
        ReadAndSend(limit=READ_LIMIT, without={ONE, TWO}),
    ),
    "little room": (
        lambda: notified(in_flight(batch(ONE, rows=MAX_ROWS_IN_FLIGHT - 7))),
        ROUND,
        ReadAndSend(limit=7, without={ONE}),
    ),
    "no room": (every_row_in_flight, ROUND, Wait(until=T + RENEW_SECONDS)),
    # back-off
    "failed": (failed, ROUND, Wait(until=RETRY)),
    "failed, new rows": (lambda: notified(failed()), ROUND, ReadAndSend(limit=READ_LIMIT, without={ONE})),
    "failed, tried again": (failed, RETRY, EVERYTHING),
    "failed twice": (lambda: failed(times=2), RETRY, Wait(until=T + 2 * KEY_BACKOFF.first)),
    "failed again and again": (
        lambda: failed(times=20),
        T + POLL_SECONDS,
        ReadAndSend(limit=READ_LIMIT, without={ONE}),
    ),
    # marks
    "acknowledged": (acknowledged, ROUND, Wait(until=T + MARK_SECONDS)),
    "acknowledged for a while": (acknowledged, T + MARK_SECONDS, Mark()),
    "acknowledged, new rows": (lambda: notified(acknowledged()), T + MARK_SECONDS, EVERYTHING),
    "acknowledged later": (lambda: acknowledged(at=ROUND), T + MARK_SECONDS, Wait(until=ROUND + MARK_SECONDS)),
    # the broker
    "broker away": (broker_away, ROUND, Wait(until=T + BROKER_SECONDS)),
    "broker tried again": (broker_away, T + BROKER_SECONDS, EVERYTHING),
}


@pytest.mark.parametrize("case", MOVES)
def test_next_move(case: str) -> None:
    make, now, move = MOVES[case]

    assert next_move(make(), now=now) == move


def test_a_reading_that_left_rows_out_is_followed_by_the_next_one_at_once() -> None:
    state = idle()
    read(state, batch(ONE, rows=3), rows=4, at=ROUND)

    assert next_move(state, now=ROUND) == ReadAndSend(limit=READ_LIMIT, without={ONE})


def test_a_key_that_was_left_out_is_read_when_its_batch_has_ended() -> None:
    sent = batch(ONE)
    state = notified(in_flight(sent))
    state.reading(ROUND)
    state.sent([], rows=0, limit=READ_LIMIT, skipped=True, now=ROUND)
    now = ROUND + ROUND_SECONDS
    assert isinstance(next_move(state, now=now), Wait)

    state.batch_acknowledged(sent, now=now)

    assert next_move(state, now=now) == EVERYTHING


def test_a_success_begins_again_with_the_first_delay() -> None:
    state = failed(times=5)
    sent = batch(ONE)
    read(state, sent, at=T + 5)
    state.batch_acknowledged(sent, now=T + 5)
    read(state, sent, at=T + 6)

    state.batch_failed(sent, now=T + 6)

    assert state.backoff.next_end == T + 6 + KEY_BACKOFF.first


def test_a_key_that_has_waited_is_read_once_and_not_at_every_turn() -> None:
    state = failed()

    read(state, at=RETRY)  # its rows are gone

    assert next_move(state, now=RETRY + ROUND_SECONDS) == Wait(until=RETRY + POLL_SECONDS)


def test_what_was_sent_under_an_earlier_lease_is_not_marked_but_read_again() -> None:
    sent = batch(ONE)
    state = in_flight(sent)
    assert state.lease_answered(EPOCH + 1, asked_at=T + 1)
    state.reading(T + 1)
    state.sent([], rows=0, limit=READ_LIMIT, skipped=True, now=T + 1)

    state.batch_acknowledged(sent, now=T + 1.1)

    assert not state.acknowledged.ids
    assert next_move(state, now=T + 1.1) == EVERYTHING


@pytest.mark.parametrize("event", ["another epoch", "taken by another", "lost at a mark", "a new connection"])
def test_what_waits_for_its_mark_is_forgotten_with_the_lease(event: str) -> None:
    state = acknowledged()

    match event:
        case "another epoch":
            state.lease_answered(EPOCH + 1, asked_at=T + 1)
        case "taken by another":
            state.lease_answered(None, asked_at=T + 1)
        case "lost at a mark":
            state.marked(held=False)
        case _:
            state.connected()

    assert not state.acknowledged.ids
    assert state.unread


def test_a_renewed_lease_changes_nothing_else() -> None:
    state = acknowledged()

    assert not state.lease_answered(EPOCH, asked_at=T + 1)

    assert state.acknowledged.ids == [0, 1]
    assert not state.unread


def test_a_lease_ends_by_our_clock_counted_from_before_it_was_asked_for() -> None:
    lease = Lease()
    assert not lease.is_valid(T)

    lease.answered(EPOCH, asked_at=T)

    assert lease.is_valid(T + LEASE_SECONDS - 0.001)
    assert not lease.is_valid(T + LEASE_SECONDS)
    lease.answered(EPOCH, asked_at=T + 1)
    assert lease.is_valid(T + LEASE_SECONDS)
    lease.lost()
    assert not lease.is_valid(T + 1)


def test_a_lease_that_was_handed_out_too_slowly_is_asked_for_again() -> None:
    state = RelayState()
    state.lease_answered(EPOCH, asked_at=T)

    assert next_move(state, now=T + LEASE_SECONDS + 1) == AskForLease()
