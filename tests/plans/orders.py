"""Every statement of the order database."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any, Final

from bench.filling.fill import Filled
from bench.filling.people import BIG, OLD
from bench.filling.story import Ending
from domain.concerns import ConcernKind
from domain.events import ORDER_EVENTS
from domain.ids import new_id
from domain.order_numbers import new_order_number
from domain.orders import CancelledBy, OrderLine, OrderStatus
from runtime.database import Connection
from runtime.idempotency import IdempotentRequest
from runtime.on_call import Concern
from services.order.attention.model import Action, Wanted
from services.order.attention.repository import AttentionRepository
from services.order.attention.watcher import DUE_LOOKS, _record
from services.order.cancellation_repository import OPEN_REQUESTS, CancellationRepository
from services.order.erasure import Erasure
from services.order.guests.model import GuestLinkRequest
from services.order.guests.repository import DUE_GUESTS, DUE_LINK_REQUESTS, GuestRepository
from services.order.lists import OrderFilter
from services.order.measuring import read_attention, read_open_orders
from services.order.model import Acceptance, Address, CancellationRequest, Guest, NewOrder, RefundUpdate
from services.order.on_call import OrderOnCall
from services.order.refund_repository import RefundRepository
from services.order.repository import UNSTARTED, OrderRepository
from tests.plans.driving import MINUTE, NOW, PAGE, an_event, run, run_common, run_due, run_keys
from tests.plans.recording import RecordedDatabase

ADDRESS: Final = Address(name="A", line1="B", line2="", city="C", postal_code="1", country="DE")


def filters(filled: Filled) -> list[OrderFilter]:
    """Every filter of a list alone and with every customer, and pages behind the first."""
    order = filled.last[0]
    later, earlier = filled.last[-20].at, order.at - timedelta(days=30)
    kinds: list[dict[str, Any]] = [
        {},
        {"number": order.number},
        {"created_from": later},
        {"created_before": earlier},
        {"created_from": earlier, "created_before": later},
        {"total_min": 119_000},
        {"total_max": 100},
        {"total_min": 10_000_000},
        {"needs_attention": True},
        *({"status": status} for status in OrderStatus),
        {"status": OrderStatus.PENDING, "needs_attention": True},
        {"status": OrderStatus.REFUNDED, "total_min": 100_000},
    ]
    whose: list[dict[str, Any]] = [{}, *({"user_id": filled.accounts[number].id} for number in (BIG, OLD, 10))]
    found = [OrderFilter(**kind, **who) for kind in kinds for who in whose]
    found += [OrderFilter(before=filled.last[0].id, **who) for who in whose]
    found += [OrderFilter(user_id=filled.accounts[number].id, search="no such product") for number in (BIG, OLD, 10)]
    return found


def unused_filters(used: list[OrderFilter]) -> set[str]:
    """Names of filters that none of these has."""
    nothing = OrderFilter()
    return {
        field.name
        for field in fields(OrderFilter)
        if all(getattr(each, field.name) == getattr(nothing, field.name) for each in used)
    }


async def drive(database: RecordedDatabase, filled: Filled) -> None:
    """Run them."""
    await _lists(database, filled)
    await _placing(database, filled)
    await _moving(database, filled)
    await _due(database, filled)
    await _guests_and_erasing(database, filled)
    await _attention(database, filled)
    await run_keys(database)
    await run_common(database, "order", reads=(read_open_orders, read_attention))


async def _lists(database: RecordedDatabase, filled: Filled) -> None:
    recent = filled.last[-20].id
    await run(
        database,
        lambda connection: OrderRepository(connection).read_line(at=NOW, new_from=NOW, since=recent, most=PAGE),
    )
    for wanted in filters(filled):

        async def page(connection: Connection, wanted: OrderFilter = wanted) -> object:
            await OrderRepository(connection).find_last_looked_through(wanted)
            return await OrderRepository(connection).find_summaries(wanted, limit=PAGE)

        await run(database, page)


async def _placing(database: RecordedDatabase, filled: Filled) -> None:
    user_id, product_id = filled.accounts[BIG].id, filled.products[0]
    new = NewOrder(
        user_id=user_id,
        currency="EUR",
        payment_window_seconds=900,
        lines=[OrderLine(product_id, 1)],
        shipping_address=ADDRESS,
    )
    guest = new.model_copy(update={"user_id": new_id(), "guest": Guest(email="somebody@example.test")})
    acceptance = Acceptance(
        order_id=new_id(),
        number=new_order_number(),
        request=IdempotentRequest.of({}, user_id=user_id, route="POST /v1/orders", key="new", wait=1),
        cause_id="accepted",
        at=NOW,
        start_after=timedelta(seconds=5),
    )
    event = an_event(ORDER_EVENTS, of=acceptance.order_id)
    await run(
        database,
        lambda connection: OrderRepository(connection).lock_customer(new),
        lambda connection: OrderRepository(connection).read_holdings(new),
        lambda connection: OrderRepository(connection).read_holdings(guest),
        lambda connection: OrderRepository(connection).accept(new, acceptance, event=event),
        lambda connection: OrderRepository(connection).accept(guest, acceptance, event=event),
    )


async def _moving(database: RecordedDatabase, filled: Filled) -> None:
    opened = next(order for order in reversed(filled.last) if order.ending is Ending.OPEN)
    sold = next(order for order in filled.last if order.ending is Ending.PAID)
    known = {order.id: 1 for order in filled.last[-20:]}
    refund = RefundUpdate(refund_id=new_id(), order_id=sold.id, amount=1, succeeded=True, version=1)

    async def move(connection: Connection) -> None:
        found = await OrderRepository(connection).find_state(opened.id)
        assert found is not None
        moved = found.model_copy(update={"status": OrderStatus.PAID, "seq": found.seq + 1})
        event = an_event(ORDER_EVENTS, of=opened.id, seq=moved.seq)
        assert await OrderRepository(connection).move(origin=found, moved=moved, cause_id="closed", event=event)

    async def refund_it(connection: Connection) -> None:
        repository = RefundRepository(connection)
        found = await OrderRepository(connection).find_state(sold.id)
        assert found is not None
        known = await repository.find(refund.refund_id)
        assert await repository.record(refund, found=found, known=known)
        later = refund.model_copy(update={"version": 2})
        event = an_event(ORDER_EVENTS, of=sold.id, seq=found.seq + 1)
        moved = found.refund(1, at=NOW)
        assert await repository.record_and_move(later, found=found, known=refund, moved=moved, event=event)

    await run(
        database,
        lambda connection: OrderRepository(connection).find_id(sold.number),
        lambda connection: OrderRepository(connection).get(sold.id),
        lambda connection: OrderRepository(connection).get_history(sold.id, after=1),
        lambda connection: OrderRepository(connection).find_moved(known),
        lambda connection: OrderRepository(connection).has_transition(sold.id, cause_id="accepted"),
        lambda connection: OrderRepository(connection).find_accepted(sold.id),
        lambda connection: OrderRepository(connection).set_saga_seen(opened.id),
        move,
        refund_it,
    )


async def _due(database: RecordedDatabase, filled: Filled) -> None:
    sold = next(order for order in filled.last if order.ending is Ending.PAID)
    new = CancellationRequest(
        order_id=sold.id, cancelled_by=CancelledBy.CUSTOMER, user_id=sold.user_id, operator=None, note=""
    )
    request = IdempotentRequest.of({}, user_id=sold.user_id, route="POST /cancel", key="cancel", wait=1)
    await run(
        database,
        lambda connection: CancellationRepository(connection).add(new, request, ask_after=MINUTE),
        lambda connection: CancellationRepository(connection).find(sold.id),
        lambda connection: CancellationRepository(connection).find_open(sold.id),
        lambda connection: CancellationRepository(connection).settle(sold.id),
    )
    await run_due(database, UNSTARTED)
    await run_due(database, OPEN_REQUESTS)
    await run_due(database, DUE_LOOKS, lambda claimed: lambda _: _record(database, claimed, None, MINUTE))
    await run_due(
        database,
        DUE_GUESTS,
        lambda claimed: lambda connection: GuestRepository(connection).set_looked(claimed),
        lambda claimed: lambda connection: GuestRepository(connection).adopt(claimed, user_id=new_id()),
    )
    await run_due(
        database,
        DUE_LINK_REQUESTS,
        lambda claimed: lambda connection: GuestRepository(connection).end_link_request(claimed),
    )


async def _guests_and_erasing(database: RecordedDatabase, filled: Filled) -> None:
    guests_order = next(order for order in filled.last if order.account is None and order.ending is not Ending.OPEN)
    email = f"filled-guest-{guests_order.number.lower()}@example.test"
    request = GuestLinkRequest(order_number=guests_order.number, email=email)
    erasure = Erasure(database)
    await run(
        database,
        lambda connection: GuestRepository(connection).find_name(guests_order.id),
        lambda connection: GuestRepository(connection).find_history(guests_order.id),
        lambda connection: GuestRepository(connection).make_due(email),
        lambda connection: GuestRepository(connection).request_link(new_id(), request),
        lambda _: erasure.erase_guest(guests_order.id, actor="admin:somebody"),
        lambda _: erasure.erase(filled.accounts[10].id),
        lambda _: erasure.erase(filled.accounts[BIG].id),
    )


async def _attention(database: RecordedDatabase, filled: Filled) -> None:
    order_id = filled.last[-1].id
    concern = Concern(
        kind=ConcernKind.ORDER, subject_id=order_id, step="mark", order_id=order_id, cause="it fails", since=NOW
    )
    action = Action(
        at=NOW,
        actor="operator:on-call",
        action="retry",
        kind=ConcernKind.ORDER,
        subject_id=order_id,
        order_id=order_id,
        note="",
        outcome="done",
    )
    watched = [order.id for order in filled.last[-20:]]
    on_call = OrderOnCall(database, *[None] * 4)  # type: ignore[arg-type]  # asked for its own tables alone
    await run(
        database,
        lambda connection: AttentionRepository(connection).raise_for_order(concern, raised_by="saga"),
        lambda connection: AttentionRepository(connection).reconcile(
            [concern], raised_by="watcher", kinds=[ConcernKind.ORDER], subjects=watched
        ),
        lambda connection: AttentionRepository(connection).reconcile(
            [], raised_by="watcher", kinds=[ConcernKind.PART, ConcernKind.EVENT], subjects=None
        ),
        lambda connection: AttentionRepository(connection).clear(
            kind=ConcernKind.ORDER, subject_id=order_id, step=None, cleared_by="saga"
        ),
        lambda connection: AttentionRepository(connection).clear(
            kind=ConcernKind.ORDER, subject_id=order_id, step="mark", cleared_by="saga"
        ),
        lambda connection: AttentionRepository(connection).clear_closed_orders(cleared_by="watcher"),
        lambda connection: AttentionRepository(connection).find_open(Wanted(), limit=PAGE),
        lambda connection: AttentionRepository(connection).find_open(Wanted(subject_id=order_id), limit=PAGE),
        lambda connection: AttentionRepository(connection).find_of_subjects(ConcernKind.ORDER, watched),
        lambda connection: AttentionRepository(connection).find_of_order(order_id),
        lambda connection: AttentionRepository(connection).find_open_orders(after=None, limit=PAGE),
        lambda connection: AttentionRepository(connection).find_open_orders(after=order_id, limit=PAGE),
        lambda connection: AttentionRepository(connection).add_action(action),
        lambda connection: AttentionRepository(connection).find_actions(order_id),
        lambda _: on_call.find_concerns(older_than=MINUTE, most=PAGE),
    )
