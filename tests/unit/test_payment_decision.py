"""What an order does next while it waits for its payment: every case of the decision, and rules that hold in all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from domain.orders import CancelledBy, OrderStatus, Reason
from domain.payments import PaymentStatus
from domain.saga import PaymentState
from workflows.order_ending import Ending
from workflows.payment_decision import (
    PROCESSING_REREAD,
    Awaited,
    ClosePayment,
    EndOrder,
    Evidence,
    Move,
    PaymentTerms,
    Proceed,
    Wait,
    next_move,
)

DEADLINE: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TICK: Final = timedelta(microseconds=1)
"""The least by which two instants of a workflow differ."""
EVENT_TIMEOUT: Final = timedelta(seconds=5)
TERMS: Final = PaymentTerms(
    amount=2_500, currency="EUR", deadline=DEADLINE, max_attempts=3, event_timeout=EVENT_TIMEOUT
)

CANCELLED_BY_CUSTOMER: Final = Ending(OrderStatus.CANCELLED, CancelledBy.CUSTOMER)
CANCELLED_BY_OPERATOR: Final = Ending(OrderStatus.CANCELLED, CancelledBy.OPERATOR)
DECLINED: Final = Ending(OrderStatus.FAILED, Reason.PAYMENT_DECLINED)
TIMED_OUT: Final = Ending(OrderStatus.FAILED, Reason.PAYMENT_TIMEOUT)
CANCELLED_AT_PROVIDER: Final = Ending(OrderStatus.FAILED, Reason.PAYMENT_CANCELLED)
MISMATCH: Final = Ending(OrderStatus.FAILED, Reason.PAYMENT_MISMATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an order that waits; by default an open payment, a minute before its deadline."""

    status: PaymentStatus = PaymentStatus.REQUIRES_PAYMENT_METHOD
    evidence: Evidence = Evidence.READ
    now: datetime = DEADLINE - timedelta(minutes=1)
    failed_attempts: int = 0
    cancelled_by: CancelledBy | None = None
    decided: Ending | None = None
    amount_received: int = 0
    currency: str = "EUR"

    def decide(self, terms: PaymentTerms = TERMS) -> Move:
        payment = PaymentState(
            payment_id="payment",
            status=self.status,
            amount_received=self.amount_received,
            currency=self.currency,
            failed_attempts=self.failed_attempts,
        )
        return next_move(
            terms,
            payment,
            evidence=self.evidence,
            now=self.now,
            cancelled_by=self.cancelled_by,
            decided=self.decided,
        )


OPEN: Final = Known()
PROCESSING: Final = Known(status=PaymentStatus.PROCESSING)
PAID: Final = Known(status=PaymentStatus.SUCCEEDED, amount_received=2_500)
GONE: Final = Known(status=PaymentStatus.CANCELLED)


def wait_for_payment() -> Wait:
    return Wait(until=DEADLINE, awaited=Awaited.PAYMENT, ending=None)


def wait_for_event(known: Known, ending: Ending | None = None) -> Wait:
    return Wait(until=known.now + timedelta(seconds=5), awaited=Awaited.EVENT, ending=ending)


def wait_for_settlement(known: Known, ending: Ending) -> Wait:
    return Wait(until=known.now + timedelta(hours=1), awaited=Awaited.SETTLEMENT, ending=ending)


@pytest.mark.parametrize("status", [status for status in PaymentStatus if not status.is_final])
@pytest.mark.parametrize("evidence", [Evidence.OPENED, Evidence.READ])
def test_an_order_that_may_still_be_paid_waits_for_its_payment_until_the_deadline(
    status: PaymentStatus, evidence: Evidence
) -> None:
    assert replace(OPEN, status=status, evidence=evidence).decide() == wait_for_payment()


@pytest.mark.parametrize(
    ("known", "ending"),
    [
        (replace(OPEN, now=DEADLINE - TICK), None),
        (replace(OPEN, now=DEADLINE), TIMED_OUT),
        (replace(OPEN, now=DEADLINE + TICK), TIMED_OUT),
        (replace(OPEN, failed_attempts=2), None),
        (replace(OPEN, failed_attempts=3), DECLINED),
        (replace(OPEN, failed_attempts=4), DECLINED),
        (replace(OPEN, cancelled_by=CancelledBy.CUSTOMER), CANCELLED_BY_CUSTOMER),
        (replace(OPEN, cancelled_by=CancelledBy.OPERATOR), CANCELLED_BY_OPERATOR),
    ],
)
@pytest.mark.parametrize("status", [status for status in PaymentStatus if not status.is_final])
@pytest.mark.parametrize("evidence", [Evidence.OPENED, Evidence.READ])
def test_deadline_attempts_and_cancellation_close_an_open_payment(
    known: Known, ending: Ending | None, status: PaymentStatus, evidence: Evidence
) -> None:
    move = replace(known, status=status, evidence=evidence).decide()

    assert move == (wait_for_payment() if ending is None else ClosePayment(ending=ending))


@pytest.mark.parametrize(
    ("known", "ending"),
    [
        (replace(OPEN, now=DEADLINE, failed_attempts=3), DECLINED),
        (replace(OPEN, now=DEADLINE, cancelled_by=CancelledBy.CUSTOMER), CANCELLED_BY_CUSTOMER),
        (replace(OPEN, failed_attempts=3, cancelled_by=CancelledBy.CUSTOMER), CANCELLED_BY_CUSTOMER),
        (replace(OPEN, now=DEADLINE, decided=DECLINED), DECLINED),
        (replace(OPEN, failed_attempts=3, decided=TIMED_OUT), TIMED_OUT),
        (replace(OPEN, cancelled_by=CancelledBy.CUSTOMER, decided=TIMED_OUT), TIMED_OUT),
        (replace(OPEN, cancelled_by=CancelledBy.OPERATOR, decided=CANCELLED_BY_CUSTOMER), CANCELLED_BY_CUSTOMER),
    ],
)
def test_of_two_endings_one_wins_and_one_that_was_decided_stands(known: Known, ending: Ending) -> None:
    assert known.decide() == ClosePayment(ending=ending)
    assert replace(known, status=PaymentStatus.CANCELLED, evidence=Evidence.CLOSED).decide() == EndOrder(ending=ending)


def test_a_payment_that_is_processing_while_it_is_closed_is_waited_for_and_closed_again_after_each_read() -> None:
    closed = replace(PROCESSING, evidence=Evidence.CLOSED, now=DEADLINE + TICK, decided=TIMED_OUT)

    assert closed.decide() == wait_for_settlement(closed, TIMED_OUT)
    assert replace(closed, evidence=Evidence.READ).decide() == ClosePayment(ending=TIMED_OUT)


def test_a_payment_that_was_declined_while_it_was_closed_is_closed_again_after_a_wait() -> None:
    closed = replace(OPEN, evidence=Evidence.CLOSED, decided=CANCELLED_BY_CUSTOMER)

    assert closed.decide() == wait_for_settlement(closed, CANCELLED_BY_CUSTOMER)
    assert replace(closed, evidence=Evidence.READ).decide() == ClosePayment(ending=CANCELLED_BY_CUSTOMER)


@pytest.mark.parametrize("evidence", Evidence)
@pytest.mark.parametrize(
    ("known", "ending"),
    [
        (GONE, CANCELLED_AT_PROVIDER),
        (replace(GONE, now=DEADLINE), TIMED_OUT),
        (replace(GONE, failed_attempts=3), DECLINED),
        (replace(GONE, cancelled_by=CancelledBy.ADMIN), Ending(OrderStatus.CANCELLED, CancelledBy.ADMIN)),
        (replace(GONE, decided=TIMED_OUT), TIMED_OUT),
        (replace(GONE, amount_received=2_500), CANCELLED_AT_PROVIDER),
    ],
)
def test_a_cancelled_payment_ends_the_order(known: Known, ending: Ending, evidence: Evidence) -> None:
    assert replace(known, evidence=evidence).decide() == EndOrder(ending=ending)


LATE: Final = [
    {},
    {"now": DEADLINE},
    {"now": DEADLINE + timedelta(days=1)},
    {"failed_attempts": 3},
    {"cancelled_by": CancelledBy.CUSTOMER},
    {"decided": TIMED_OUT},
]
"""What ends an order whose money is not in; nothing first."""


@pytest.mark.parametrize("evidence", [Evidence.READ, Evidence.CLOSED])
@pytest.mark.parametrize("late", LATE)
def test_the_right_money_is_the_pivot_whatever_came_meanwhile(late: dict[str, object], evidence: Evidence) -> None:
    assert replace(PAID, evidence=evidence, **late).decide() == Proceed()  # type: ignore[arg-type]


@pytest.mark.parametrize("evidence", [Evidence.READ, Evidence.CLOSED])
@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize(
    ("amount", "currency"),
    [(2_499, "EUR"), (2_501, "EUR"), (0, "EUR"), (2_500, "USD"), (2_500, "eur"), (2_500, "")],
)
def test_another_amount_or_currency_ends_the_order_as_a_mismatch(
    amount: int, currency: str, late: dict[str, object], evidence: Evidence
) -> None:
    known = replace(PAID, amount_received=amount, currency=currency, evidence=evidence, **late)  # type: ignore[arg-type]

    assert known.decide() == EndOrder(ending=MISMATCH)


def test_a_confirm_that_said_succeeded_wants_its_signed_event_or_a_read_after_the_timeout() -> None:
    opened = replace(PAID, evidence=Evidence.OPENED)

    assert opened.decide() == wait_for_event(opened)
    assert replace(opened, amount_received=1, currency="USD").decide() == wait_for_event(opened)


@pytest.mark.parametrize(
    ("known", "ending"),
    [
        (replace(PAID, now=DEADLINE - TICK), None),
        (replace(PAID, now=DEADLINE), TIMED_OUT),
        (replace(PAID, failed_attempts=3), DECLINED),
        (replace(PAID, cancelled_by=CancelledBy.CUSTOMER), CANCELLED_BY_CUSTOMER),
    ],
)
def test_the_event_of_a_confirm_that_said_succeeded_is_awaited_past_the_deadline_too(
    known: Known, ending: Ending | None
) -> None:
    known = replace(known, evidence=Evidence.OPENED)

    assert known.decide() == wait_for_event(known, ending)


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("evidence", list(Evidence))
def test_an_order_of_nothing_proceeds_however_its_payment_is_known(evidence: Evidence, late: dict[str, object]) -> None:
    opened = replace(PAID, amount_received=0, evidence=evidence, **late)  # type: ignore[arg-type]

    assert opened.decide(replace(TERMS, amount=0)) == Proceed()
    assert replace(opened, amount_received=1).decide(replace(TERMS, amount=0)) == EndOrder(ending=MISMATCH)


def everything() -> Iterator[Known]:
    """The product of all that the decision looks at, with each boundary and both sides of it."""
    for status, evidence, now, failed, cancelled_by, decided, amount, currency in itertools.product(
        PaymentStatus,
        Evidence,
        [DEADLINE - timedelta(days=1), DEADLINE - TICK, DEADLINE, DEADLINE + TICK, DEADLINE + timedelta(days=30)],
        [0, 2, 3, 4],
        [None, *CancelledBy],
        [None, DECLINED, TIMED_OUT, CANCELLED_BY_CUSTOMER],
        [0, 2_499, 2_500, 2_501],
        ["EUR", "USD"],
    ):
        yield Known(
            status=status,
            evidence=evidence,
            now=now,
            failed_attempts=failed,
            cancelled_by=cancelled_by,
            decided=decided,
            amount_received=amount,
            currency=currency,
        )


def test_in_no_case_is_a_rule_broken() -> None:
    met: set[type[Move]] = set()
    for known in everything():
        move = known.decide()
        met.add(type(move))
        is_proven = known.evidence is not Evidence.OPENED
        is_right = (known.amount_received, known.currency) == (2_500, "EUR")
        match move:
            case Proceed():
                assert (known.status, is_proven, is_right) == (PaymentStatus.SUCCEEDED, True, True), known
            case Wait():
                assert move.until > known.now, known
                assert not known.status.is_final or not is_proven, known
                assert move.until <= DEADLINE or move.awaited is not Awaited.PAYMENT, known
                assert (move.awaited is Awaited.EVENT) == (known.status is PaymentStatus.SUCCEEDED), known
                assert move.awaited is not Awaited.SETTLEMENT or known.evidence is Evidence.CLOSED, known
                assert move.ending == known.decided or known.decided is None, known
            case ClosePayment():
                assert not known.status.is_final, known
                assert known.evidence is not Evidence.CLOSED, known  # else it would be closed without end
            case EndOrder():
                assert known.status.is_final, known
                assert (move.ending == MISMATCH) == (known.status is PaymentStatus.SUCCEEDED), known
                assert move.ending.status in (OrderStatus.FAILED, OrderStatus.CANCELLED), known
    assert met == {Proceed, Wait, ClosePayment, EndOrder}


def test_no_wait_lasts_longer_than_what_it_waits_for() -> None:
    longest = {Awaited.EVENT: EVENT_TIMEOUT, Awaited.SETTLEMENT: PROCESSING_REREAD}
    for known in everything():
        match known.decide():
            case Wait(until=until, awaited=awaited) if awaited in longest:
                assert until == known.now + longest[awaited], known
            case Wait(until=until):
                assert until == DEADLINE, known
