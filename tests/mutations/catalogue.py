"""The mutations that have to be caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.mutations.relay import RELAY
from tests.support.mutation import Mutation

MUTATIONS: Final[Sequence[Mutation]] = (
    *RELAY,
    Mutation(
        breaks="a back-off that does not grow",
        file="runtime/backoff.py",
        source="return min(self.first * 2.0 ** min(max(attempt - 1, 0), _MOST_DOUBLINGS), self.longest)",
        mutated="return self.first",
        tests=["tests/unit/test_backoff.py"],
    ),
    Mutation(
        breaks="nobody is woken when notifications may have been missed",
        file="runtime/wakeups.py",
        source="woken = [event for events in self._waiting.values() for event in events]",
        mutated="woken = []",
        tests=["tests/unit/test_wakeups.py"],
    ),
    Mutation(
        breaks="money in another currency is taken for the right one",
        file="workflows/payment_decision.py",
        source="(payment.amount_received, payment.currency) == (terms.amount, terms.currency)",
        mutated="payment.amount_received == terms.amount",
        tests=["tests/unit/test_payment_decision.py"],
    ),
    Mutation(
        breaks="the signed event of a payment is not waited for",
        file="workflows/payment_decision.py",
        source="until=now + terms.event_timeout",
        mutated="until=now",
        tests=["tests/unit/test_payment_decision.py"],
    ),
    Mutation(
        breaks="a deadline that is this very moment has not passed",
        file="workflows/payment_decision.py",
        source="if now >= terms.deadline:",
        mutated="if now > terms.deadline:",
        tests=["tests/unit/test_payment_decision.py"],
    ),
    Mutation(
        breaks="what the confirm said is enough to sell for",
        file="workflows/payment_wait.py",
        source="evidence = Evidence.OPENED",
        mutated="evidence = Evidence.READ",
        tests=["tests/saga/test_outcomes.py"],
    ),
    Mutation(
        breaks="the pivot is in one workflow task with the steps before it",
        file="workflows/payment_wait.py",
        source="if ending is not None or self._changes.are_pending():",
        mutated="if ending is not None:",
        tests=["tests/saga/test_lost_tasks.py"],
    ),
    Mutation(
        breaks="a cancellation request stops steps past the pivot and compensations too",
        file="workflows/step_runner.py",
        source="return policy.stoppable and self._is_cancelled()",
        mutated="return self._is_cancelled()",
        tests=["tests/saga/test_cancellation.py"],
    ),
    Mutation(
        breaks="a refusal that the saga has an answer to parks its step",
        file="workflows/step_runner.py",
        source="if refused.refusal in policy.answers:",
        mutated="if False:",
        tests=["tests/saga/test_outcomes.py"],
    ),
    Mutation(
        breaks="any parked step can be skipped",
        file="workflows/parked_step.py",
        source="if decision is Decision.RESOLVE and not self._resolvable:",
        mutated="if False:",
        tests=["tests/saga/test_attention.py"],
    ),
    Mutation(
        breaks="attention is cleared before it is raised, and stays",
        file="workflows/attention.py",
        source="await _finish(raised)  # else",
        mutated="pass  # else",
        tests=["tests/saga/test_stuck_steps.py"],
    ),
)
