"""Mutations of what keeps a slow Stripe from those who need no Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

SLOW_STRIPE: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="every local attempt may wait for Stripe",
        file="activities/calling.py",
        source="request.without_stripe = not has_slot",
        mutated="request.without_stripe = False",
        tests=["tests/saga/test_slow_stripe.py"],
    ),
    Mutation(
        breaks="retried steps that ask Stripe take the slots of all others",
        file="workflows/activity_calls.py",
        source="payment_queue(queue) if may_ask_stripe(step, request) else queue",
        mutated="queue",
        tests=["tests/saga/test_slow_stripe.py"],
    ),
    Mutation(
        breaks="a slow Stripe keeps every local slot",
        file="activities/local_slots.py",
        source="self._room = max(1, self._room // 2)",
        mutated="pass",
        tests=["tests/unit/test_local_slots.py"],
    ),
    Mutation(
        breaks="a refusal counts as no answer",
        file="activities/local_slots.py",
        source="isinstance(error, ApplicationError) and error.non_retryable:",
        mutated="False:",
        tests=["tests/unit/test_local_slots.py"],
    ),
    Mutation(
        breaks="Stripe is asked for a caller who would rather fail",
        file="services/payment/stripe/gate.py",
        source="return asking_as(Lane.NONE if request.without_stripe else Lane.CALLS)",
        mutated="return asking_as(Lane.CALLS)",
        tests=["tests/saga/test_slow_stripe.py"],
    ),
    Mutation(
        breaks="a caller who would rather fail waits for another call of the order",
        file="services/payment/order_turns.py",
        source="if lane is Lane.NONE and lock.locked():",
        mutated="if False:",
        tests=["tests/payment/test_slow_stripe.py"],
    ),
    Mutation(
        breaks="events wait among the steps for their turn at Stripe",
        file="services/payment/webhooks/processing.py",
        source="with asking_as(Lane.EVENTS):",
        mutated="with asking_as(Lane.CALLS):",
        tests=["tests/payment/test_slow_stripe.py"],
    ),
    Mutation(
        breaks="any number of calls may wait for their turn at Stripe",
        file="services/payment/stripe/gate.py",
        source="                most_waiting=at_once,\n",
        mutated="",
        tests=["tests/unit/test_stripe_gate.py"],
    ),
    Mutation(
        breaks="every copy of the payment service has the whole rate",
        file="services/payment/stripe/copies.py",
        source="gate.pace.divide(copies)",
        mutated="gate.pace.divide(1)",
        tests=["tests/payment/test_slow_stripe.py"],
    ),
    Mutation(
        breaks="a busy gate is taken for a Stripe that does not answer",
        file="services/payment/stripe/client.py",
        source="how that goes is measured\n            return None\n",
        mutated="how that goes is measured\n            return 'busy'\n",
        tests=["tests/payment/test_slow_stripe.py"],
    ),
)
