"""What must hold after every case, from the state of the doubles: design §7, and what the audit cannot see.

Invariants 1, 2, 3, 4 and 7 are the audit's own code (`cli.audit.invariants`). The others follow from design §3 and §4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from temporalio.exceptions import ApplicationError

from cli.audit.invariants import find_breaches
from domain.orders import OrderStatus, Reason
from domain.saga import CloseRefundRequest, MarkPendingRequest
from tests.explorer.events import ATTEMPTS
from tests.explorer.schedule import Fault

if TYPE_CHECKING:
    from tests.explorer.case import Case

CLOSED: Final = frozenset({OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED})
WISHES: Final = ("cancel", "raw")
"""Events by which an order is wished cancelled."""
UNPAID: Final = frozenset({Reason.PAYMENT_TIMEOUT, Reason.PAYMENT_DECLINED})


def breaches_at_a_close(case: Case) -> list[str]:
    """What does not agree in the moment in which the order is marked for the last time: everything must, by then."""
    return [f"when it closed: {what}" for what in _audit(case) if not what.startswith("7")]


async def breaches_at_the_end(case: Case, *, result: Any) -> list[str]:
    """What does not agree once the workflow is closed, and after everything late has arrived too.

    What the order is owed has a saga of its own by then, and is given back before anything is looked at.
    """
    await _give_back(case)
    found = [*_audit(case), *_rules(case, result)]
    before = _state(case)
    await _let_everything_late_arrive(case)
    await _give_back(case)
    if (after := _state(case)) != before:
        found.append(f"something late changed {before} to {after}")
    late = [what for what in (*_audit(case), *_rules(case, result)) if what not in found]
    return [*found, *(f"after everything late: {what}" for what in late)]


def _audit(case: Case) -> list[str]:
    facts = case.shop.facts()
    return [f"{breach.invariant}: {breach.what}" for breach in find_breaches(facts) if breach.invariant not in (5, 6)]


def _rules(case: Case, result: Any) -> Iterator[str]:
    order = case.shop.orders.orders[case.order_id]
    intents = list(case.shop.stripe.intents.values())
    captured = sum(intent.amount_received for intent in intents)
    failed = sum(len(intent.failed_charges) for intent in intents)
    if order.status not in CLOSED:
        yield f"the workflow is closed, the order {order.status}"
    if result is not None and (result.status, result.reason) != (order.status, order.reason):
        yield f"the workflow ended {result.status} {result.reason}, the order {order.status} {order.reason}"
    if len(intents) > 1:
        yield f"{len(intents)} intents"
    if sum(len(intent.succeeded_charges) for intent in intents) > 1:
        yield "charged twice"
    if sum(len(intent.refunds) for intent in intents) > 1:
        yield "refunded twice"
    if case.shop.stripe.refused_refunds:
        yield "only Stripe kept a second refund from being made"
    if order.attention:
        yield f"attention outlasts the order: {order.attention}"
    if order.reason in UNPAID and captured:
        yield f"{order.reason}, although the money had come"
    if order.reason == Reason.PAYMENT_DECLINED and failed < ATTEMPTS:
        yield f"PAYMENT_DECLINED after {failed} failed charges"
    if order.status is OrderStatus.CANCELLED and not any(case.happened[wish] for wish in WISHES):
        yield "CANCELLED, and nobody wished it"
    if case.calls["commit"] and order.status is not OrderStatus.PAID and order.reason != Reason.STOCK_LOST:
        yield f"{order.status} {order.reason}, past the pivot"
    if order.reason == Reason.STOCK_LOST and not _stock_could_be_lost(case):
        yield "STOCK_LOST, but nobody took it"


def _stock_could_be_lost(case: Case) -> bool:
    """Somebody gave it back, a release was on its way, or the order was undone before a worker died."""
    scheduled = any(isinstance(move, Fault) and "RESERVATION" in move.kind for move in case.schedule.moves)
    return scheduled or bool(case.happened["unsold"] or case.happened["crash"])


async def _give_back(case: Case) -> None:
    """What the sagas of refunds do: `RefundSaga` itself is explored apart."""
    refunds = [refund for payment in case.shop.payments.payments.values() for refund in payment.refunds.values()]
    for refund in refunds:
        if refund.saga_open:
            state = await case.shop.refunds.carry_out_refund(refund.id)
            await case.shop.refunds.close_refund(CloseRefundRequest(refund_id=refund.id, version=state.version))


async def _let_everything_late_arrive(case: Case) -> None:
    """Each request of a forward step once more, as if it had been under way until now, and Stripe's events again."""
    shop = case.shop
    await case.late(lambda: shop.stock.reserve(case.reserve_request()))
    await case.late(lambda: shop.payments.open_payment(case.open_request()))
    if case.pending_request is not None:
        request: MarkPendingRequest = case.pending_request
        await case.late(lambda: shop.orders.mark_pending(request))
    shop.delivered = 0
    with suppress(ApplicationError):
        shop.take_events()


def _state(case: Case) -> tuple[Any, ...]:
    shop = case.shop
    order = shop.orders.orders[case.order_id]
    stock = shop.stock.stock.values()
    intents = shop.stripe.intents.values()
    return (
        (order.status, len(order.transitions)),
        [(level.on_hand, level.reserved) for level in stock],
        [(intent.status, intent.amount_received, intent.refunded, len(intent.refunds)) for intent in intents],
    )
