"""The mutations that have to be caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.mutations.adjustments import ADJUSTMENTS
from tests.mutations.edge import EDGE
from tests.mutations.mechanisms import MECHANISMS
from tests.mutations.overload import OVERLOAD
from tests.mutations.payment import PAYMENT
from tests.mutations.relay import RELAY
from tests.mutations.retention import RETENTION
from tests.mutations.services import SERVICES
from tests.mutations.slow_stripe import SLOW_STRIPE
from tests.mutations.streams import STREAMS
from tests.support.mutation import Mutation

MUTATIONS: Final[Sequence[Mutation]] = (
    *RELAY,
    *MECHANISMS,
    *SERVICES,
    *PAYMENT,
    *ADJUSTMENTS,
    *EDGE,
    *STREAMS,
    *OVERLOAD,
    *RETENTION,
    *SLOW_STRIPE,
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
        source="if ending is not None or self._changes.are_pending() or self._terms.is_free:",
        mutated="if ending is not None or self._terms.is_free:",
        tests=["tests/replay/test_replay.py"],  # tests/saga/test_lost_tasks.py shows the harm, in half of its runs
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
        source="elif outcome.refusal in policy.answers:",
        mutated="elif False:",
        tests=["tests/saga/test_outcomes.py"],
    ),
    Mutation(
        breaks="any parked step can be skipped",
        file="workflows/stuck_step.py",
        source="if remedy is Remedy.RESOLVE and not self._resolvable:",
        mutated="if False:",
        tests=["tests/saga/test_attention.py"],
    ),
    Mutation(
        breaks="an order that waited for too long is charged",
        file="workflows/order_saga.py",
        source="if limit is None or waited.total_seconds() <= limit:",
        mutated="if True:",
        tests=["tests/saga/test_late_orders.py"],
    ),
    Mutation(
        breaks="a late repair ends an order that is PENDING",
        file="workflows/order_saga.py",
        source="if (await self._read_order()).status is OrderStatus.RECEIVED:",
        mutated="if True:",
        tests=["tests/saga/test_late_orders.py"],
    ),
    Mutation(
        breaks="a parked step that is refused again is answered as if it had worked",
        file="workflows/stuck_step.py",
        source="self._answer(step, StepOutcome.REFUSED, refusal=outcome.refusal, message=outcome.message)",
        mutated="self._answer(step, StepOutcome.DONE)",
        tests=["tests/saga/test_retries_by_hand.py"],
    ),
    Mutation(
        breaks="a workflow that is woken without end has a history without end",
        file="workflows/history.py",
        source="workflow.info().get_current_history_length() > MAX_EVENTS",
        mutated="False",
        tests=["tests/saga/test_bounded_histories.py"],
    ),
    Mutation(
        breaks="a request to cancel that was lost with its workflow task is not made again",
        file="services/order/sagas.py",
        source="for pause in _PAUSES:",
        mutated="for pause in ():",
        tests=["tests/order/test_temporal.py"],
    ),
    Mutation(
        breaks="attention is cleared before it is raised, and stays",
        file="workflows/attention.py",
        source="await finish(self._raised)  # else",
        mutated="pass  # else",
        tests=["tests/saga/test_stuck_steps.py"],
    ),
    Mutation(
        breaks="an order whose workflow Temporal's list does not show is taken to be well",
        file="services/order/attention/workflows.py",
        source="others = [each for each in ids if each not in well]",
        mutated="others: list[str] = []",
        tests=["tests/order/test_watch.py"],
    ),
    Mutation(
        breaks="a saga that was ended from outside is started again by whoever comes by",
        file="services/order/sagas.py",
        source="await self._start(order, WorkflowIDReusePolicy.REJECT_DUPLICATE)",
        mutated="await self._start(order, WorkflowIDReusePolicy.ALLOW_DUPLICATE)",
        tests=["tests/order/test_temporal.py"],
    ),
    Mutation(
        breaks="a repeat is answered with an outcome that came too late for the first request",
        file="runtime/idempotency.py",
        source="return outcome_at is not None and outcome_at <= self.answer_by",
        mutated="return outcome_at is not None",
        tests=["tests/order/test_cancellations.py"],
    ),
    Mutation(
        breaks="a duplicate that waits less than the first request is answered before it",
        file="services/order/service.py",
        source="wait=first.seconds_to_wait(wait, at=self._clock())",
        mutated="wait=wait",
        tests=["tests/order/test_idempotency.py"],
    ),
    Mutation(
        breaks="the outcome of a cancellation is whatever last became of the order",
        file="services/order/model.py",
        source="for transition in self.transitions if not transition.to_status.is_open",
        mutated="for transition in self.transitions[::-1] if not transition.to_status.is_open",
        tests=["tests/order/test_cancellations.py"],
    ),
    Mutation(
        breaks="requests to cancel with other notes are one request",
        file="services/order/cancellation_service.py",
        source='{"order_id": order_id, "why": note}',
        mutated='{"order_id": order_id}',
        tests=["tests/order/test_cancellations.py"],
    ),
    Mutation(
        breaks="the saga of an order that has closed is asked to cancel it",
        file="services/order/cancellation_repository.py",
        source="WHERE requested.order_id = %(order_id)s AND orders.status IN ('RECEIVED', 'PENDING')",
        mutated="WHERE requested.order_id = %(order_id)s",
        tests=["tests/order/test_cancellations.py"],
    ),
    Mutation(
        breaks="a request is never settled",
        file="services/order/cancellation_service.py",
        source="if not request.status.is_open:",
        mutated="if False:",
        tests=["tests/order/test_due_work.py"],
    ),
    Mutation(
        breaks="an order that was started by the worker is started again for ever",
        file="services/order/service.py",
        source="await OrderRepository(connection).set_saga_seen(order_id)",
        mutated="pass",
        tests=["tests/order/test_due_work.py"],
    ),
    Mutation(
        breaks="an order that moves by itself is due for a start",
        file="services/order/repository.py",
        source="pending=\"orders.status = 'RECEIVED' AND orders.saga_seen_at IS NULL\"",
        mutated='pending="orders.saga_seen_at IS NULL"',
        tests=["tests/order/test_due_work.py"],
    ),
    Mutation(
        breaks="the worker starts an order while its own request is at it",
        file="services/order/repository.py",
        source="now() + %(start_after)s",
        mutated="now() + %(start_after)s * 0",
        tests=["tests/order/test_due_work.py"],
    ),
    Mutation(
        breaks="everything is asked in vain while Temporal is away",
        file="runtime/due_worker.py",
        source="self._not_before = now + self._away.failed()",
        mutated="pass",
        tests=["tests/order/test_due_work.py"],
    ),
    Mutation(
        breaks="of refunds at once one is lost",
        file="services/order/refund_repository.py",
        source="AND status = %(found_status)s AND seq = %(found_seq)s",
        mutated="AND status = %(found_status)s AND %(found_seq)s > 0",
        tests=["tests/order/test_refund_races.py"],
    ),
    Mutation(
        breaks="an update of a refund counts although the order has it already",
        file="services/order/service.py",
        source="return update.version > known.version",
        mutated="return update.version >= known.version",
        tests=["tests/order/test_refunds.py"],
    ),
    Mutation(
        breaks="a customer sees and cancels anybody's order",
        file="services/order/service.py",
        source="if order is None or not caller.may_see(order.user_id, order_id=order.id):",
        mutated="if order is None:",
        tests=["tests/order/test_service.py"],
    ),
)
