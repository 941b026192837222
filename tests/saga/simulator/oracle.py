"""What must hold in and after every case, of what the databases and Stripe have: design §7, and what no audit sees.

Invariants 1, 2, 3, 4, 7 and 8, and of 5 what a database has of it, are the audit's own code (`cli.audit.invariants`).
The others follow from design §3 and §4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from cli.audit.facts import Facts
from cli.audit.invariants import find_breaches
from domain.orders import SOLD_STATUSES, OrderStatus, Reason
from domain.refunds import RefundOrigin, RefundStatus
from tests.saga.simulator import world as worlds
from tests.saga.simulator.at_stripe import is_live
from tests.saga.simulator.customer_events import ATTEMPTS
from tests.saga.simulator.events import base
from tests.saga.simulator.schedule import Arrival, Fault
from tests.saga.simulator.world import RefundRow, World

if TYPE_CHECKING:
    from tests.saga.simulator.case import Case

CLOSED: Final = frozenset({OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED})
CANCELLATIONS: Final = ("cancel", "raw")
"""Events by which an order's cancellation is requested."""
UNPAID: Final = frozenset({Reason.PAYMENT_TIMEOUT, Reason.PAYMENT_DECLINED})
MAY_TAKE_OUR_MONEY: Final = frozenset({"part", "rest", "disputed", "inquired", "lost", "back", "asked"})
"""After these events Stripe may rightly refuse a refund of ours."""
BY_HAND: Final = "0197a6a5-0000-7000-8000-00000000b4ac"
"""The restock id of units that somebody put back by hand."""


async def breaches_at_a_close(case: Case) -> list[str]:
    """What does not agree in the moment in which the order is marked for the last time: everything must, by then."""
    facts = await worlds.read_facts(case.slot.installation, case.slot.databases)
    # 7 and 8: Stripe's last events may still be on their way.
    return [f"when it closed: {what}" for what in _audit(facts) if not what.startswith(("7", "8"))]


def breaches_at_the_end(
    case: Case, world: World, results: Mapping[str, Any], *, are_events_processed: bool = False
) -> list[str]:
    """What does not agree when nothing is under way any more.

    Args:
        case: the case.
        world: how all stands.
        results: what its workflows answered, by the name of each.
        are_events_processed: whether all of Stripe's events have come, and been tried again where they had to be.
    """
    found = [*_audit(world.facts), *_rules_of_money(case, world)]
    if are_events_processed:
        found += _rules_of_events(world)
    if case.is_of_an_order:
        found += _rules_of_an_order(case, world, results.get(""))
    else:
        found += _rules_of_refunds(case, world)
    found += [f"{row.id} is {row.status} and open, without a workflow" for row in world.refunds if row.is_open]
    found += [f"{row.id} is {row.status} and open, without a workflow" for row in world.facts.disputes if row.saga_open]
    return found


def state(world: World) -> tuple[Any, ...]:
    """What nothing late may change any more."""
    return (
        (world.order.status, len(world.order.causes)),
        [(level.on_hand, level.reserved) for level in world.facts.stock],
        [
            (intent.status, intent.amount_received, intent.refunded, len(intent.refunds))
            for intent in world.facts.intents.values()
        ],
    )


async def breaches_at_a_refund(case: Case) -> list[str]:
    """What must hold when a refund is asked of Stripe."""
    disputes = await case.slot.databases.rows(
        "payment", "SELECT id FROM disputes WHERE status IN ('NEEDS_RESPONSE', 'UNDER_REVIEW')"
    )
    return ["a refund is asked of Stripe while a chargeback is known to be open"] if disputes else []


async def breaches_of_refunds(case: Case) -> list[str]:
    """What must hold after every step of a refund, of money at Stripe and on its way there."""
    return list(_of_money_going_back(case, await worlds.read_refunds(case.slot.databases)))


def _of_money_going_back(case: Case, refunds: list[RefundRow]) -> Iterator[str]:
    intent, made = case.at_stripe.intent, case.at_stripe.refunds
    going = sum(refund.amount for refund in made if is_live(refund))
    if intent is not None and going > intent.amount_received:
        yield f"{going} go back of {intent.amount_received}"
    ours = Counter(refund.metadata["refund_id"] for refund in made if "refund_id" in refund.metadata)
    yield from (f"{times} refunds at Stripe for one of ours" for times in ours.values() if times > 1)
    live = Counter(row.restock_id for row in refunds if row.status.is_live)
    yield from (f"{times} refunds in the place of one" for times in live.values() if times > 1)


async def breaches_at_a_restock(case: Case, restock_id: str) -> list[str]:
    """What must hold when units are put back: the money went back once."""
    flips = worlds.count_flips(case.slot.installation.account)
    refunds = [row for row in await worlds.read_refunds(case.slot.databases) if row.restock_id == restock_id]
    if any(flips.get(row.stripe_refund_id or "", 0) for row in refunds):
        return []
    return ["units are put back before any money"]


async def breaches_at_a_refunds_close(case: Case, refund_id: str) -> list[str]:
    """What does not agree in the moment in which a refund is closed: all that follows from it is done by then."""
    world = await worlds.read_world(case.slot.installation, case.slot.databases)
    [row] = [row for row in world.refunds if row.id == refund_id]
    return list(_of_a_closed_refund(case, world, row))


def _of_a_closed_refund(case: Case, world: World, row: RefundRow) -> Iterator[str]:
    name = case.name_of(row.id)
    if row.status not in (RefundStatus.SUCCEEDED, RefundStatus.RESOLVED, RefundStatus.REPLACED):
        yield f"{name} is closed, and {row.status}"
    if world.order.status in SOLD_STATUSES and row.origin is not RefundOrigin.VOID:
        succeeded, version = world.order.refunds.get(row.id, (None, None))
        if version != row.version:
            yield f"{name} is closed in version {row.version}, the order knows {version}"
        elif succeeded != (row.status is RefundStatus.SUCCEEDED):
            yield f"{name} is closed {row.status}, for the order it has succeeded: {succeeded}"
    yield from _of_its_restock(case, world, row)


def _audit(facts: Facts) -> list[str]:
    """What the audit finds; nothing is published here, and no workflow is listed."""
    return [
        f"{breach.invariant}: {breach.what}"
        for breach in find_breaches(facts)
        if breach.invariant not in (5, 6) or "no outbox row" in breach.what
    ]


def _rules_of_events(world: World) -> Iterator[str]:
    """Every event that Stripe sent is processed, and none needs a person."""
    for status, number in world.provider_events.items():
        if status in ("RECEIVED", "FLAGGED"):
            yield f"{number} of Stripe's events are {status}"


def _rules_of_money(case: Case, world: World) -> Iterator[str]:
    if len(world.intents) > 1:
        yield f"{len(world.intents)} intents"
    if world.succeeded_charges > 1:
        yield "charged twice"
    names = {base(move.event) for move in case.schedule.moves if isinstance(move, Arrival)}
    if case.slot.refused_refunds and not names & MAY_TAKE_OUR_MONEY:
        yield "only Stripe kept a second refund from being made"
    if world.order.attention:
        yield f"attention outlasts its cause: {world.order.attention}"


def _rules_of_an_order(case: Case, world: World, result: Any) -> Iterator[str]:
    order = world.order
    captured = sum(intent.amount_received for intent in world.intents)
    if order.status not in CLOSED:
        yield f"the workflow is closed, the order {order.status}"
    if result is not None and (result["status"], result["reason"]) != (order.status, order.reason):
        yield f"the workflow ended {result['status']} {result['reason']}, the order {order.status} {order.reason}"
    if len(world.stripe_refunds) > 1:
        yield "refunded twice"
    if order.reason in UNPAID and captured:
        yield f"{order.reason}, although the money had come"
    attempts = world.failed_charges + case.happened["unauthenticated"]
    if order.reason == Reason.PAYMENT_DECLINED and attempts < ATTEMPTS:
        yield f"PAYMENT_DECLINED after {attempts} failed attempts"
    if order.status is OrderStatus.CANCELLED and not any(case.happened[event] for event in CANCELLATIONS):
        yield "CANCELLED, and nobody requested it"
    if case.calls["commit"] and order.status is not OrderStatus.PAID and order.reason != Reason.STOCK_LOST:
        yield f"{order.status} {order.reason}, past the pivot"
    if order.reason == Reason.STOCK_LOST and not _stock_could_be_lost(case):
        yield "STOCK_LOST, but nobody took it"


def _stock_could_be_lost(case: Case) -> bool:
    """Somebody gave it back, a release was on its way, or the order was undone before a worker died."""
    scheduled = any(isinstance(move, Fault) and "RESERVATION" in move.kind for move in case.schedule.moves)
    return scheduled or bool(case.happened["unsold"] or case.happened["crash"])


def _rules_of_refunds(case: Case, world: World) -> Iterator[str]:
    yield from _of_money_going_back(case, list(world.refunds))
    if case.schedule.beginning.startswith("undone"):
        yield from _of_an_undone_order(case, world)
    for row in world.refunds:
        if not row.is_open:
            yield from _of_its_restock(case, world, row)
        yield from _of_its_transitions(case, world, row)
    put_back = sum(units for restock_id, units in world.restocked.items() if restock_id != BY_HAND)
    if put_back > case.requested_restock:
        yield f"{put_back} units were put back, {case.requested_restock} asked for"


def _of_an_undone_order(case: Case, world: World) -> Iterator[str]:
    if world.order.status is not OrderStatus.FAILED or world.order.refunds:
        yield f"a FAILED order was marked: {world.order.status}, {dict(world.order.refunds)}"
    is_adopted = any(row.origin is RefundOrigin.STRIPE for row in world.refunds)
    if any(name.endswith("mark_refunded") for name in case.calls) and not is_adopted:
        yield "a FAILED order was updated with what goes back of it"


def _of_its_restock(case: Case, world: World, row: RefundRow) -> Iterator[str]:
    if row.status is not RefundStatus.SUCCEEDED or not row.has_restock or row.restock_id in world.restocked:
        return
    if f"{case.name_of(row.id)}.restock" not in case.done_by_hand:
        yield f"{case.name_of(row.id)} has succeeded, and its units were not put back"


def _of_its_transitions(case: Case, world: World, row: RefundRow) -> Iterator[str]:
    """Each success and each take-back moves the order once; one taken back before the order knew of it, not at all."""
    name = case.name_of(row.id)
    causes = [cause for cause in world.order.causes if cause.startswith(f"refund:{row.id}:")]
    if len(set(causes)) != len(causes):
        yield f"transitions of {name} are there twice"
    flips = world.flips_of(row)
    if len(causes) > flips:
        yield f"{len(causes)} transitions of {name}, whose money moved {flips} times"
    counts = world.order.status in SOLD_STATUSES and row.origin is not RefundOrigin.VOID
    if counts and len(causes) % 2 != (row.status is RefundStatus.SUCCEEDED):
        yield f"{len(causes)} transitions of {name}, which is {row.status}"
