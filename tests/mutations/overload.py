"""Mutations of how more than can be done is turned away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

OVERLOAD: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="work is begun for a caller who has gone",
        file="runtime/deadline.py",
        source="if call.ends_at is not None and call.ends_at <= time.monotonic():",
        mutated="if False:",
        tests=["tests/runtime/test_rpc.py", "tests/runtime/test_database.py"],
    ),
    Mutation(
        breaks="half of what was begun is dropped when its caller goes",
        file="runtime/deadline.py",
        source="if call is None or call.begun:",
        mutated="if call is None:",
        tests=["tests/runtime/test_rpc.py"],
    ),
    Mutation(
        breaks="a call is taken up whose deadline has passed",
        file="runtime/rpc_server.py",
        source="if left is not None and left <= 0:",
        mutated="if False:",
        tests=["tests/runtime/test_rpc.py"],
    ),
    Mutation(
        breaks="a service answers any number of calls at a time",
        file="runtime/rpc_server.py",
        source="if len(self._running) >= self._most_calls and",
        mutated="if False and",
        tests=["tests/runtime/test_rpc.py"],
    ),
    Mutation(
        breaks="the line for a connection is as long as it likes",
        file="runtime/database.py",
        source="error=_PoolExhausted, most_waiting=most_waiting)",
        mutated="error=_PoolExhausted)",
        tests=["tests/runtime/test_database.py"],
    ),
    Mutation(
        breaks="what was begun is turned away for want of room",
        file="runtime/database.py",
        source="however_many=has_begun()",
        mutated="however_many=False",
        tests=["tests/runtime/test_database.py"],
    ),
    Mutation(
        breaks="trouble after something was begun says that nothing was",
        file="runtime/rpc_server.py",
        source="if not has_begun():",
        mutated="if True:",
        tests=["tests/runtime/test_rpc.py"],
    ),
    Mutation(
        breaks="orders come in however long the line is",
        file="services/order/admission.py",
        source="self._opens_at = max(line.waiting // 2, FEW - 1)",
        mutated="self._opens_at = None",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="once closed for new orders, closed until the line is empty",
        file="services/order/admission.py",
        source="self._opens_at = max(line.waiting // 2, FEW - 1)",
        mutated="self._opens_at = 0",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="orders that wait for Stripe or a service are a line for a worker",
        file="services/order/admission.py",
        source="self._wait_for_workers = await self._sagas.count_waiting() >= FEW // 2",
        mutated="self._wait_for_workers = await self._sagas.count_waiting() >= 0",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="whoever comes reads the line for themselves, one after the other",
        file="services/order/admission.py",
        source="and self._looking.done() and",
        mutated="and",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="what Temporal said once of a line is believed for ever",
        file="services/order/admission.py",
        source="return self._wait_for_workers and self._now() - self._asked_at < KNOWN_FOR",
        mutated="return self._wait_for_workers",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="new orders are turned away because Temporal is away",
        file="services/order/admission.py",
        source="            self._wait_for_workers = False\n        finally:",
        mutated="            pass\n        finally:",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="one order that stands still closes the shop",
        file="services/order/repository.py",
        source="percentile_disc(0.5) WITHIN GROUP",
        mutated="percentile_disc(0.0) WITHIN GROUP",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="a repeat of an accepted order is turned away like a new one",
        file="services/order/service.py",
        source="            return await self._find_first(request, reason)",
        mutated="            raise reason",
        tests=["tests/order/test_admission.py", "tests/gateway/test_busy.py"],
    ),
    Mutation(
        breaks="every order that waits for long has its saga started again",
        file="services/order/service.py",
        source="        if is_started and order.left_received_at is None:",
        mutated="        if False:",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="who is turned away is not told when to come again",
        file="runtime/rpc_client.py",
        source="retry_after = retry_delay(error) if is_first else None",
        mutated="retry_after = None",
        tests=["tests/runtime/test_rpc.py", "tests/gateway/test_busy.py"],
    ),
)
