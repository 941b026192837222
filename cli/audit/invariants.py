"""The invariants of design §7 as functions of what was read. Work of a running workflow is pending, not a breach.

Where a source could not be read, an invariant is checked as far as the others go, or not at all: `CHECKS` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from cli.audit.facts import Breach, DisputeFact, Facts, OrderFact, PaymentFact, RefundFact, Source, Sources
from domain.orders import ALLOWED_FROM, REFUND_ARROWS, SOLD_STATUSES, OrderStatus, refunded_status
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundStatus
from domain.saga import dispute_workflow_id, order_workflow_id, refund_workflow_id
from domain.stock import ReservationStatus

OPEN_FOR: Final = timedelta(seconds=60)
EVENTS_WITHIN: Final = timedelta(minutes=5)
GRACE: Final = timedelta(seconds=10)

STATUS_AT_STRIPE: Final = {
    "requires_payment_method": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_confirmation": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "processing": PaymentStatus.PROCESSING,
    "succeeded": PaymentStatus.SUCCEEDED,
    "canceled": PaymentStatus.CANCELLED,
}


def find_breaches(facts: Facts) -> list[Breach]:
    """Everything that does not agree, as far as it was read."""
    return [
        breach
        for check, sources in CHECKS.items()
        if not sources.needed & facts.unread.keys()
        for breach in check(facts)
    ]


def paid_orders_have_their_money_and_sold_their_units(facts: Facts) -> Iterator[Breach]:
    """1: sold if and only if one SUCCEEDED payment of the total, and a COMMITTED reservation; its status as refunded.

    Of what an open refund has changed, its workflow is about to notify the order.
    """
    for order in facts.orders.values():
        payment, reservation = facts.payments.get(order.id), facts.reservations.get(order.id)
        if order.status in SOLD_STATUSES:
            if payment is None or payment.status != PaymentStatus.SUCCEEDED:
                yield _order_breach(1, facts, order, f"{order.status} without a succeeded payment")
            elif (payment.amount_received, payment.currency_received) != (order.total, order.currency):
                what = f"{order.status}, but received {payment.amount_received} of {order.total}"
                yield _order_breach(1, facts, order, what)
            elif payment.refunded != order.refunded and not _open_refunds(facts, order.id):
                what = f"{order.status} with {order.refunded} refunded, but {payment.refunded} of the payment were"
                yield _order_breach(1, facts, order, what)
            if reservation is None or reservation.status != ReservationStatus.COMMITTED:
                yield _order_breach(1, facts, order, f"{order.status} without a committed reservation")
            elif reservation.lines != order.lines:
                yield _order_breach(1, facts, order, f"{order.status}, but other units were sold than ordered")
        elif (
            reservation is not None
            and reservation.status == ReservationStatus.COMMITTED
            and not _is_running(facts, order.id)
        ):
            yield _order_breach(1, facts, order, f"{order.status} with a committed reservation")


def dead_orders_hold_neither_money_nor_stock(facts: Facts) -> Iterator[Breach]:
    """2: FAILED or CANCELLED has no reservation but a released one; its intent is canceled or wholly refunded.

    Or the rest is due: its refund is under way, or needs a person, or a person has dealt with it.
    """
    for order in facts.orders.values():
        if order.status not in (OrderStatus.FAILED, OrderStatus.CANCELLED):
            continue
        reservation = facts.reservations.get(order.id)
        if reservation is not None and reservation.status != ReservationStatus.RELEASED:
            yield _order_breach(2, facts, order, f"{order.status} with a reservation {reservation.status}")
        if Source.PAYMENT in facts.unread:
            continue
        for intent in facts.intents.values():
            if intent.order_id != order.id:
                continue
            kept = intent.amount_received - intent.refunded
            if intent.status != "canceled" and kept > _due(facts, order.id):
                yield _order_breach(2, facts, order, f"{order.status}, but Stripe's {intent.id} keeps {kept}")
            if kept < 0:
                yield _order_breach(2, facts, order, f"{-kept} more went back than {intent.id} brought in")
            if intent.status not in ("canceled", "succeeded"):
                yield _order_breach(2, facts, order, f"{order.status}, but {intent.id} is {intent.status}")


def stock_adds_up(facts: Facts) -> Iterator[Breach]:
    """3: on hand is the sum of the ledger, reserved that of active lines; each committed line was sold once.

    And no more units of an order were put back into stock than were sold to it.
    """
    for stock in facts.stock:
        faults = []
        if stock.on_hand != stock.on_hand_by_ledger:
            faults.append(f"on hand {stock.on_hand}, but the ledger says {stock.on_hand_by_ledger}")
        if stock.reserved != stock.reserved_by_lines:
            faults.append(f"reserved {stock.reserved}, but active lines say {stock.reserved_by_lines}")
        if not 0 <= stock.reserved <= stock.on_hand:
            faults.append(f"reserved {stock.reserved} of {stock.on_hand}")
        if stock.committed_lines != stock.committed_movements:
            faults.append(f"{stock.committed_lines} committed lines, {stock.committed_movements} movements")
        if not stock.seq == stock.movements == stock.last_seq:
            faults.append(f"the ledger has gaps: {stock.movements} rows up to {stock.last_seq}, counted {stock.seq}")
        for fault in faults:
            yield Breach(invariant=3, subject=f"product {stock.product_id}", what=fault, version=str(stock.seq))
    for restock in facts.restocks:
        if restock.restocked > restock.sold:
            yield Breach(
                invariant=3,
                subject=f"product {restock.product_id}",
                what=f"{restock.restocked} came back of {restock.sold} that were sold to order {restock.order_id}",
                version=str((restock.restocked, restock.sold)),
            )


def histories_are_legal(facts: Facts) -> Iterator[Breach]:
    """4: transitions are gapless from 1 and legal, and the last one is the order's status, as its refunds have it."""
    histories = {order_id: list(rows) for order_id, rows in groupby(facts.transitions, key=lambda row: row.order_id)}
    for order in facts.orders.values():
        rows = histories.get(order.id, [])
        if [row.seq for row in rows] != list(range(1, len(rows) + 1)) or len(rows) != order.seq:
            yield _order_breach(4, facts, order, f"its history has gaps: {[row.seq for row in rows]}")
            continue
        before = None
        for row in rows:
            if row.from_status != before or not _is_legal(before, OrderStatus(row.to_status)):
                yield _order_breach(4, facts, order, f"transition {row.seq} {row.from_status} → {row.to_status}")
            before = row.to_status
        if before != order.status:
            yield _order_breach(4, facts, order, f"is {order.status}, but its history ends {before}")
        if not _fits_refunds(order):
            yield _order_breach(4, facts, order, f"{order.status}, but refunded {order.refunded} of {order.total}")


def transitions_are_published(facts: Facts) -> Iterator[Breach]:
    """5: each transition has an outbox row; those marked published are in Kafka, gapless and in order per order.

    Outbox rows that were published long ago are deleted, and topics forget: what both may have forgotten is no breach.
    """
    forgotten: dict[str, int] = {}
    for row in facts.transitions:
        order = facts.orders.get(row.order_id)
        if order is None:
            continue
        is_forgotten = facts.forgotten_by_kafka is not None and row.at <= facts.forgotten_by_kafka
        if is_forgotten or (row.may_be_deleted and not row.has_outbox_row):
            forgotten[row.order_id] = max(row.seq, forgotten.get(row.order_id, 0))
        if not row.has_outbox_row:
            if not row.may_be_deleted:
                yield _order_breach(5, facts, order, f"transition {row.seq} has no outbox row")
        elif Source.KAFKA in facts.unread:
            continue  # what the relay cannot publish either is late, and not wrong
        elif not row.is_published:
            yield _order_breach(5, facts, order, f"transition {row.seq} is not published yet")
        elif row.seq not in facts.published.get(row.order_id, []) and not is_forgotten:
            yield _order_breach(5, facts, order, f"transition {row.seq} is marked published, but not in Kafka")
    for order_id, seqs in facts.published.items():
        if order_id in facts.orders and not _is_gapless(seqs, from_at_most=forgotten.get(order_id, 0) + 1):
            yield _order_breach(5, facts, facts.orders[order_id], f"Kafka has its events as {seqs}")


def _is_gapless(seqs: Sequence[int], *, from_at_most: int) -> bool:
    """Whether these follow one another, from 1 or from any number up to that."""
    first = seqs[0]
    return list(seqs) == list(range(first, first + len(seqs))) and first <= from_at_most


def what_is_open_runs(facts: Facts) -> Iterator[Breach]:
    """6: an order, refund or dispute that is open for long has a healthy running workflow; one that is not has none."""
    for order in facts.orders.values():
        is_open = OrderStatus(order.status).is_open
        for what in _not_running(
            facts, order_workflow_id(order.id), is_open=is_open, since=order.created_at, until=order.updated_at
        ):
            yield _order_breach(6, facts, order, f"{order.status}, {what}")
    for refund in facts.refunds:
        for what in _not_running(
            facts,
            refund_workflow_id(refund.id),
            is_open=refund.saga_open,
            since=refund.updated_at,
            until=refund.updated_at,
        ):
            yield _refund_breach(6, refund, f"{refund.status}, {what}")
    for dispute in facts.disputes:
        for what in _not_running(
            facts,
            dispute_workflow_id(dispute.id),
            is_open=dispute.saga_open,
            since=dispute.updated_at,
            until=dispute.updated_at,
        ):
            yield _dispute_breach(6, dispute, f"{dispute.status}, {what}")
    known = {
        *(order_workflow_id(order_id) for order_id in facts.orders),
        *(refund_workflow_id(refund.id) for refund in facts.refunds),
        *(dispute_workflow_id(dispute.id) for dispute in facts.disputes),
    }
    for workflow_id, run in facts.runs.items():
        if run.is_running and workflow_id not in known:
            yield Breach(invariant=6, subject=f"workflow {workflow_id}", what="it runs for nothing", version="")


def _not_running(facts: Facts, workflow_id: str, *, is_open: bool, since: datetime, until: datetime) -> Iterator[str]:
    """What is wrong with the workflow of something that is open since then, or closed since then."""
    run = facts.runs.get(workflow_id)
    if is_open and facts.read_at - since > OPEN_FOR:
        if run is None or not run.is_running:
            yield "without a running workflow"
        elif run.has_problems:
            yield "its workflow reports problems"
    if not is_open and run is not None and run.is_running and facts.read_at - until > GRACE:
        yield "but its workflow runs"


def payments_equal_stripe(facts: Facts) -> Iterator[Breach]:
    """7: each payment equals its intent, with its refunds and disputes; each intent of ours has its payment."""
    by_payment = {payment.id: payment for payment in facts.payments.values()}
    for payment in by_payment.values():
        if payment.intent_id is None:
            continue
        intent = facts.intents.get(payment.intent_id)
        if intent is None:
            yield _payment_breach(facts, payment, f"intent {payment.intent_id} is not at Stripe")
            continue
        if STATUS_AT_STRIPE.get(intent.status) != payment.status:
            yield _payment_breach(facts, payment, f"{payment.status}, but Stripe says {intent.status}")
        if payment.amount_received != intent.amount_received:
            yield _payment_breach(
                facts, payment, f"received {payment.amount_received}, Stripe says {intent.amount_received}"
            )
        if payment.refunded != intent.refunded:
            yield _payment_breach(facts, payment, f"refunded {payment.refunded}, Stripe says {intent.refunded}")
        refunds = {
            refund.stripe_refund_id: _at_stripe(refund.status)
            for refund in facts.refunds
            if refund.order_id == payment.order_id and refund.stripe_refund_id is not None
        }
        theirs = {refund_id: _at_stripe(status.upper()) for refund_id, status in intent.refunds.items()}
        if refunds != theirs:
            yield _payment_breach(facts, payment, f"refunds {refunds}, Stripe says {theirs}")
        disputes = {
            dispute.id: dispute.status.lower() for dispute in facts.disputes if dispute.order_id == payment.order_id
        }
        if disputes != intent.disputes:
            yield _payment_breach(facts, payment, f"disputes {disputes}, Stripe says {dict(intent.disputes)}")
    for intent in facts.intents.values():
        known = by_payment.get(intent.payment_id)
        if known is None or known.intent_id != intent.id:
            what = f"{intent.id} ({intent.status}) belongs to no payment row"
            yield Breach(invariant=7, subject=f"order {intent.order_id}", what=what, version=intent.status)


def provider_events_are_worked_off(facts: Facts) -> Iterator[Breach]:
    """8: every provider event is applied, ignored or flagged within five minutes."""
    for event in facts.waiting_events:
        if facts.read_at - event.received_at > EVENTS_WITHIN:
            what = f"waits since {event.received_at:%H:%M:%S}"
            yield Breach(invariant=8, subject=f"event {event.event_id}", what=what, version="")


def totals_add_up(facts: Facts) -> Iterator[Breach]:
    """9: an order's total is that of its lines, shipping and discounts, and never below zero."""
    for order in facts.orders.values():
        if order.total != order.price:
            yield _order_breach(9, facts, order, f"its total is {order.total}, its lines come to {order.price}")
        if order.total is not None and order.total < 0:
            yield _order_breach(9, facts, order, f"its total is {order.total}")


CHECKS: Final[Mapping[Callable[[Facts], Iterator[Breach]], Sources]] = {
    paid_orders_have_their_money_and_sold_their_units: Sources(
        needed=frozenset({Source.ORDER, Source.PAYMENT, Source.INVENTORY}), used=frozenset({Source.TEMPORAL})
    ),
    dead_orders_hold_neither_money_nor_stock: Sources(
        needed=frozenset({Source.ORDER, Source.INVENTORY}), used=frozenset({Source.PAYMENT, Source.STRIPE})
    ),
    stock_adds_up: Sources(needed=frozenset({Source.INVENTORY})),
    histories_are_legal: Sources(needed=frozenset({Source.ORDER})),
    transitions_are_published: Sources(needed=frozenset({Source.ORDER}), used=frozenset({Source.KAFKA})),
    what_is_open_runs: Sources(needed=frozenset({Source.ORDER, Source.PAYMENT, Source.TEMPORAL})),
    payments_equal_stripe: Sources(needed=frozenset({Source.PAYMENT, Source.STRIPE})),
    provider_events_are_worked_off: Sources(needed=frozenset({Source.PAYMENT})),
    totals_add_up: Sources(needed=frozenset({Source.ORDER})),
}
"""The invariants, in their order."""


def _is_legal(before: str | None, after: OrderStatus) -> bool:
    if before is None:
        return after is OrderStatus.RECEIVED
    return before in ALLOWED_FROM.get(after, ()) or before in REFUND_ARROWS.get(after, ())


def _fits_refunds(order: OrderFact) -> bool:
    """Whether an order stands where its refunds put it: of a sale alone, and never of more than its total."""
    if order.status not in SOLD_STATUSES:
        return order.refunded == 0
    total = order.total or 0
    return order.refunded <= total and order.status == refunded_status(refunded=order.refunded, total=total)


def _is_running(facts: Facts, order_id: str) -> bool:
    """Whether work on the order is pending, as it may be while Temporal cannot be asked."""
    if Source.TEMPORAL in facts.unread:
        return True
    run = facts.runs.get(order_workflow_id(order_id))
    return run is not None and run.is_running


def _open_refunds(facts: Facts, order_id: str) -> list[RefundFact]:
    return [refund for refund in facts.refunds if refund.order_id == order_id and refund.saga_open]


def _due(facts: Facts, order_id: str) -> int:
    """What of an unpaid order's money has a refund that is not done, or that a person has dealt with."""
    return sum(
        refund.amount
        for refund in facts.refunds
        if refund.order_id == order_id
        and refund.status not in (RefundStatus.SUCCEEDED, RefundStatus.REPLACED)
        and (refund.saga_open or refund.status == RefundStatus.RESOLVED)
    )


def _at_stripe(status: str) -> str:
    """A refund's status as both sides can say it: what became of one that had failed is ours alone."""
    ours = (RefundStatus.FAILED, RefundStatus.CANCELLED, RefundStatus.RESOLVED, RefundStatus.REPLACED)
    if status in (*ours, "CANCELED"):  # as Stripe spells it
        return "not refunded"
    return RefundStatus.PENDING if status == "REQUIRES_ACTION" else status


def list_lost_disputes(facts: Facts) -> list[DisputeFact]:
    """What banks took back for good: no breach, but money that the shop has not."""
    return [dispute for dispute in facts.disputes if dispute.status == DisputeStatus.LOST]


def _order_breach(invariant: int, facts: Facts, order: OrderFact, what: str) -> Breach:
    payment, reservation = facts.payments.get(order.id), facts.reservations.get(order.id)
    refunds = [(refund.id, refund.version, refund.saga_open) for refund in facts.refunds if refund.order_id == order.id]
    versions = (order.seq, payment.seq if payment else None, reservation.status if reservation else None, refunds)
    return Breach(invariant=invariant, subject=f"order {order.id}", what=what, version=str(versions))


def _refund_breach(invariant: int, refund: RefundFact, what: str) -> Breach:
    subject = f"refund {refund.id} of order {refund.order_id}"
    return Breach(invariant=invariant, subject=subject, what=what, version=str((refund.version, refund.saga_open)))


def _dispute_breach(invariant: int, dispute: DisputeFact, what: str) -> Breach:
    subject = f"dispute {dispute.id} of order {dispute.order_id}"
    return Breach(invariant=invariant, subject=subject, what=what, version=str((dispute.version, dispute.saga_open)))


def _payment_breach(facts: Facts, payment: PaymentFact, what: str) -> Breach:
    return Breach(invariant=7, subject=f"order {payment.order_id}", what=what, version=str(payment.seq))
