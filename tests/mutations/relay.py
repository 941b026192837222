"""The mutations of the outbox relay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

_BATCHES: Final = ["tests/unit/test_relay_batches.py"]
_MOVES: Final = ["tests/unit/test_relay_moves.py"]
_PROPERTIES: Final = ["tests/unit/test_relay_properties.py"]
_PUBLISHING: Final = "tests/relay/test_publishing.py"
_TOO_SLOW: Final = [f"{_PUBLISHING}::test_what_postgresql_answered_too_slowly_for_the_lease_is_not_sent"]

RELAY: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a small event overtakes a large one of its key that did not fit into the batch",
        file="workers/relay/batches.py",
        source="        if place in full:\n"
        "            continue  # smaller than the row that did not fit, it would overtake it\n",
        mutated="",
        tests=_BATCHES,
    ),
    Mutation(
        breaks="the relay's lease does not end by our clock",
        file="workers/relay/state.py",
        source="return self.epoch is not None and now < self._held_until",
        mutated="return self.epoch is not None",
        tests=_MOVES,
    ),
    Mutation(
        breaks="the relay's lease counts from PostgreSQL's answer, not from the question",
        file="workers/relay/loop.py",
        source="        before, asked_at = self._state.lease.epoch, _now()\n"
        "        epoch = await database.hold(epoch=before)\n",
        mutated="        before = self._state.lease.epoch\n"
        "        epoch = await database.hold(epoch=before)\n"
        "        asked_at = _now()\n",
        tests=_TOO_SLOW,
    ),
    Mutation(
        breaks="what PostgreSQL handed out when the lease was over is sent",
        file="workers/relay/loop.py",
        source="if epoch is None or not self._state.lease.is_valid(_now()):",
        mutated="if epoch is None:",
        tests=_TOO_SLOW,
    ),
    Mutation(
        breaks="what was acknowledged under an earlier lease is marked",
        file="workers/relay/state.py",
        source="if batch.epoch == self.lease.epoch:",
        mutated="if self.lease.epoch is not None:",
        tests=_MOVES,
    ),
    Mutation(
        breaks="rows are marked without the lease",
        file="workers/relay/database.py",
        source="AND published_at IS NULL AND EXISTS (SELECT FROM held))",
        mutated="AND published_at IS NULL)",
        tests=["tests/relay/test_database.py"],
    ),
    Mutation(
        breaks="acknowledged rows outlive the lease",
        file="workers/relay/state.py",
        source="    def _start_over(self) -> None:\n        self.backoff.clear()\n        self.acknowledged.clear()\n",
        mutated="    def _start_over(self) -> None:\n        self.backoff.clear()\n",
        tests=_MOVES,
    ),
    Mutation(
        breaks="a key with a batch in flight is read again",
        file="workers/relay/moves.py",
        source="without=state.in_flight.keys | state.backoff.waiting(now)",
        mutated="without=state.backoff.waiting(now)",
        tests=_PROPERTIES,
    ),
    Mutation(
        breaks="a key that backs off is read",
        file="workers/relay/moves.py",
        source="without=state.in_flight.keys | state.backoff.waiting(now)",
        mutated="without=state.in_flight.keys",
        tests=_MOVES,
    ),
    Mutation(
        breaks="the back-off of a key never begins again",
        file="workers/relay/state.py",
        source="            self._retries.pop(key, None)",
        mutated="            pass",
        tests=_MOVES,
    ),
    Mutation(
        breaks="a notification that was missed is never made up for",
        file="workers/relay/moves.py",
        source="min(state.poll_at, state.backoff.next_end)",
        mutated="state.backoff.next_end",
        tests=_MOVES,
    ),
    Mutation(
        breaks="the relay sleeps past rows that are to be marked",
        file="workers/relay/moves.py",
        source="min(state.lease.ask_at, read_at, mark_at)",
        mutated="min(state.lease.ask_at, read_at)",
        tests=_PROPERTIES,
    ),
    Mutation(
        breaks="the relay never has enough in flight",
        file="workers/relay/moves.py",
        source="    if state.in_flight.rows >= MAX_ROWS_IN_FLIGHT:\n"
        "        return math.inf  # the end of a batch wakes us\n",
        mutated="",
        tests=_MOVES,
    ),
    Mutation(
        breaks="a relay that stops keeps its lease",
        file="workers/relay/loop.py",
        source="                await database.release(epoch=self._state.lease.epoch)\n",
        mutated="                pass\n",
        tests=[f"{_PUBLISHING}::test_the_next_relay_goes_on_at_once_when_one_stops"],
    ),
)
