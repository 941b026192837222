"""Mutations of streams of orders' events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

_MOVES: Final = "tests/gateway/test_order_moves.py"
_ROOM: Final = "tests/gateway/test_order_streams.py"

STREAMS: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a newcomer waits for the end of the call that does not know them",
        file="api/order_moves.py",
        source="            self._poll.replace()",
        mutated="            pass",
        tests=[f"{_MOVES}::test_a_newcomer_is_asked_for_in_the_call_that_takes_the_place_of_the_one_under_way"],
    ),
    Mutation(
        breaks="a newcomer ends the call before the next one may be made",
        file="api/order_moves.py",
        source="reschedule(self._next_at)",
        mutated="reschedule(0)",
        tests=[f"{_MOVES}::test_a_rush_of_newcomers_costs_few_calls"],
    ),
    Mutation(
        breaks="of an order only who has the most of it is asked for",
        file="api/order_moves.py",
        source="known[order_id] = min(seqs)",
        mutated="known[order_id] = max(seqs)",
        tests=[f"{_MOVES}::test_one_who_has_more_of_an_order_is_not_told_of_what_they_have"],
    ),
    Mutation(
        breaks="the call outlives who it was made for",
        file="api/order_moves.py",
        source="                self._polling.cancel()\n",
        mutated="",
        tests=[f"{_MOVES}::test_the_last_who_leaves_ends_the_call"],
    ),
    Mutation(
        breaks="a rush of streams reads all at once",
        file="api/order_streams.py",
        source="_AT_ONCE: Final = 4",
        mutated="_AT_ONCE: Final = 50",
        tests=[f"{_ROOM}::test_few_of_a_rush_read_at_a_time"],
    ),
    Mutation(
        breaks="a stream that never began keeps its room",
        file="api/routes/order_events.py",
        source="                self._stream.close()",
        mutated="                pass",
        tests=["tests/gateway/test_order_events.py::test_clients_that_are_gone_before_their_stream_began_hold_nothing"],
    ),
    Mutation(
        breaks="a wait outlives the gateway that hung up",
        file="services/order/server.py",
        source="        _end_with_call(context)\n",
        mutated="",
        tests=["tests/order/test_moves.py::test_a_gateway_that_hangs_up_leaves_nobody_waiting"],
    ),
    Mutation(
        breaks="what moved before a call is waited for",
        file="services/order/moves.py",
        source="check_first=True",
        mutated="check_first=False",
        tests=["tests/order/test_moves.py::test_what_moved_before_is_answered_at_once_and_nothing_else"],
    ),
)
