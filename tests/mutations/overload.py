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
        source="return max(self._pace.rate * patience, FEW - 1) - waiting",
        mutated="return math.inf",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="all who were turned away come in together, once the line is short",
        file="services/order/admission.py",
        source="if (line.received < FEW and not self._is_limiting) or",
        mutated="if line.received < FEW or",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="all who were turned away come in together, once the line is new",
        file="services/order/admission.py",
        source="if line.waited < patience / 6 and not self._is_limiting:",
        mutated="if line.waited < patience / 6:",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="who was turned away once is kept out until the line is gone",
        file="services/order/admission.py",
        source="            self._is_limiting = False\n            log.info",
        mutated="            log.info",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="what stands still for a reason of its own takes the room of others",
        file="services/order/admission.py",
        source="waiting = max(line.new, min(line.received, self._backlog))",
        mutated="waiting = line.received",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="orders that wait for dead workers are no line after a while",
        file="services/order/admission.py",
        source="waiting = max(line.new, min(line.received, self._backlog))",
        mutated="waiting = line.new",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="who is turned away is told to come again together with all others",
        file="services/order/admission.py",
        source="max(self._last + pause, now + _SHORTEST_RETRY)",
        mutated="now + _SHORTEST_RETRY",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="orders that wait for Stripe or a service are a line for a worker",
        file="services/order/admission.py",
        source="if self._backlog >= FEW // 2:",
        mutated="if True:",
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
        source="return self._now() - self._had_backlog_at < KNOWN_FOR",
        mutated="return math.isfinite(self._had_backlog_at)",
        tests=["tests/order/test_admission.py"],
    ),
    Mutation(
        breaks="new orders are turned away because Temporal is away",
        file="services/order/admission.py",
        source='            self._backlog, self._had_backlog_at = 0, float("-inf")\n        finally:',
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
        breaks="a service's own word when to come again is not sent",
        file="runtime/rpc_server.py",
        source="retry_after = problem.retry_after if isinstance(problem, Shed) else None",
        mutated="retry_after = None",
        tests=["tests/runtime/test_rpc.py"],
    ),
    Mutation(
        breaks="who is turned away is not told when to come again",
        file="runtime/rpc_client.py",
        source="retry_after = retry_delay(error) if is_first else None",
        mutated="retry_after = None",
        tests=["tests/runtime/test_rpc.py", "tests/gateway/test_busy.py"],
    ),
)
