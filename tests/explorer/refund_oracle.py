"""What must hold of refunds and disputes, from the state of the doubles: the audit's rules, and what it cannot see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cli.audit.invariants import find_breaches
from domain.orders import SOLD_STATUSES, OrderStatus
from domain.refunds import RefundOrigin, RefundStatus
from tests.doubles.payments import RefundRow
from tests.explorer.refund_events import base
from tests.explorer.refund_shapes import ORDER
from tests.explorer.schedule import Arrival

if TYPE_CHECKING:
    from tests.explorer.refund_case import Case

NOT_OF_DOUBLES: Final = (5, 6, 8)
"""The audit's rules of Kafka, of Temporal and of the inbox, which the doubles have not."""
MAY_TAKE_OUR_MONEY: Final = frozenset({"part", "rest", "disputed", "inquired", "lost", "back", "asked"})
"""After these Stripe may rightly refuse a refund of ours."""
BY_HAND: Final = "by hand"


def breaches_at_stripe(case: Case) -> Iterator[str]:
    """What must hold after every step, of money at Stripe and on its way there; the first of a chain names it."""
    going = sum(made.amount for made in case.intent.refunds if made.is_live)
    if going > case.intent.amount_received:
        yield f"{going} go back of {case.intent.amount_received}"
    made = Counter(each.refund_id for each in case.intent.refunds if each.refund_id is not None)
    yield from (f"{times} refunds at Stripe for {refund_id}" for refund_id, times in made.items() if times > 1)
    live = Counter(row.restock_id for row in case.payment.refunds.values() if row.status.is_live)
    yield from (f"{times} refunds in the place of {first}" for first, times in live.items() if times > 1)


def breaches_at_a_restock(case: Case, restock_id: str) -> Iterator[str]:
    """What must hold when units are put back: the money went back once."""
    refunds = [row for row in case.payment.refunds.values() if row.restock_id == restock_id]
    if not any(_flips(case, row) for row in refunds):
        yield f"units of {restock_id} are put back before any money"


def breaches_at_a_close(case: Case, refund_id: str) -> Iterator[str]:
    """What does not agree in the moment in which a refund is closed: all that follows from it is done by then."""
    row = case.payment.refunds[refund_id]
    order = case.shop.orders.orders[ORDER]
    if row.status not in (RefundStatus.SUCCEEDED, RefundStatus.RESOLVED, RefundStatus.REPLACED):
        yield f"{row.id} is closed, and {row.status}"
    told = order.refunds.get(row.id)
    if order.status in SOLD_STATUSES and row.origin is not RefundOrigin.VOID:
        if told is None or told.version != row.version:
            yield f"{row.id} is closed in version {row.version}, the order was told {told and told.version}"
        elif told.succeeded != (row.status is RefundStatus.SUCCEEDED):
            yield f"{row.id} is closed {row.status}, the order was told {told.succeeded}"
    yield from _not_put_back(case, row)


def breaches_at_the_end(case: Case) -> Iterator[str]:
    """What does not agree when nothing is under way any more."""
    facts = case.shop.facts()
    for breach in find_breaches(facts):
        if breach.invariant not in NOT_OF_DOUBLES:
            yield f"{breach.invariant}: {breach.what}"
    order = case.shop.orders.orders[ORDER]
    if order.attention:
        yield f"attention outlasts its cause: {order.attention}"
    yield from (f"{row.id} is {row.status} and open, without a workflow" for row in case.rows if row.saga_open)
    if case.schedule.shape.startswith("owed"):
        yield from _of_an_undone_order(case)
    for row in case.payment.refunds.values():
        if not row.saga_open:
            yield from _not_put_back(case, row)
        yield from _of_its_transitions(case, row)
    put_back = sum(sum(restock.lines.values()) for key, restock in case.shop.stock.restocks.items() if key != BY_HAND)
    if put_back > case.requested_pieces:
        yield f"{put_back} units were put back, {case.requested_pieces} asked for"
    names = {base(move.event) for move in case.schedule.moves if isinstance(move, Arrival)}
    if case.shop.stripe.refused_refunds and not names & MAY_TAKE_OUR_MONEY:
        yield "only Stripe kept a second refund from being made"


def _of_an_undone_order(case: Case) -> Iterator[str]:
    order = case.shop.orders.orders[ORDER]
    if order.status is not OrderStatus.FAILED or order.refunds:
        yield f"a FAILED order was marked: {order.status}, {order.refunds}"
    if any(name.endswith(".mark_refunded") for name in case.calls) and not _adopted(case):
        yield "a FAILED order was told of what it is owed"


def _adopted(case: Case) -> bool:
    return any(row.origin is RefundOrigin.STRIPE for row in case.payment.refunds.values())


def _not_put_back(case: Case, row: RefundRow) -> Iterator[str]:
    if row.status is not RefundStatus.SUCCEEDED or not row.restock or row.restock_id in case.shop.stock.restocks:
        return
    if f"{case.flow_of(row).name}.restock" not in case.done_by_hand:
        yield f"{row.id} has succeeded, and its units were not put back"


def _of_its_transitions(case: Case, row: RefundRow) -> Iterator[str]:
    """Each success and each take-back moves the order once; one that was taken back before it was told, not at all."""
    order = case.shop.orders.orders[ORDER]
    causes = [each.cause_id for each in order.transitions if each.cause_id.startswith(f"refund:{row.id}:")]
    if len(set(causes)) != len(causes):
        yield f"transitions are there twice: {causes}"
    flips = _flips(case, row)
    if len(causes) > flips:
        yield f"{len(causes)} transitions of {row.id}, whose money moved {flips} times"
    counts = order.status in SOLD_STATUSES and row.origin is not RefundOrigin.VOID
    if counts and len(causes) % 2 != (row.status is RefundStatus.SUCCEEDED):
        yield f"{len(causes)} transitions of {row.id}, which is {row.status}"


def _flips(case: Case, row: RefundRow) -> int:
    return case.flips[row.made_id or ""]
