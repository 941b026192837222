"""The order service's use cases on a real PostgreSQL: accepting orders, marking them, reading them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from domain.ids import new_id
from domain.orders import OrderLine, OrderStatus, PricedLine
from domain.saga import OrderInput
from runtime.caller import SERVICE, Caller, CallerRole
from services.order.errors import OrderNotFound
from services.order.model import Mark, Pricing
from tests.support.order_shop import DEADLINE, OrderShop, new_order
from tests.support.rows import fetch_rows

EVENTS = "SELECT ce_seq FROM outbox WHERE key = %(order_id)s ORDER BY id"


async def test_an_accepted_order_has_its_history_its_event_and_its_saga(shop: OrderShop) -> None:
    created = await shop.orders.create(new_order(), idempotency_key="key", wait=0)

    order_id = created.order.id
    assert created.accepted_only
    assert shop.sagas.started == [order_id]
    assert [(t.seq, t.from_status, t.to_status) for t in created.order.transitions] == [(1, None, OrderStatus.RECEIVED)]
    assert [(seq, kind) for seq, kind, _ in await shop.events(order_id, after=0)] == [(1, "order.received")]


async def test_an_order_is_accepted_while_temporal_is_away(shop: OrderShop) -> None:
    shop.sagas.is_away = True

    created = await shop.orders.create(new_order(), idempotency_key="key", wait=0)

    assert (created.order.status, created.accepted_only) == (OrderStatus.RECEIVED, True)


async def test_a_request_is_answered_as_soon_as_its_order_moves(shop: OrderShop) -> None:
    answer = asyncio.create_task(shop.orders.create(new_order(), idempotency_key="key", wait=60))

    await shop.mark_pending(await shop.sagas.next_start())
    created = await answer

    assert (created.order.status, created.accepted_only) == (OrderStatus.PENDING, False)


async def test_a_mark_writes_prices_history_and_event_at_once(shop: OrderShop) -> None:
    new = new_order()
    order_id = await shop.received(new)

    state = await shop.mark_pending(order_id)
    order = await shop.orders.get(order_id, caller=Caller(CallerRole.CUSTOMER, new.user_id))

    assert (state.status, state.payment_deadline) == (OrderStatus.PENDING, DEADLINE)
    assert (order.total, order.items[0].unit_price) == (1_000, 500)
    assert [t.to_status for t in order.transitions] == [OrderStatus.RECEIVED, OrderStatus.PENDING]
    received, created = await shop.events(order_id, after=0)
    assert (received[1], received[2].HasField("total"), received[2].lines[0].HasField("unit_price")) == (
        "order.received",
        False,
        False,
    )
    assert (created[1], created[2].total, created[2].lines[0].unit_price) == ("order.created", 1_000, 500)
    assert (created[2].from_status, created[2].to_status) == ("RECEIVED", "PENDING")


async def test_lines_stay_where_the_customer_named_them_and_the_saga_gets_them_sorted(shop: OrderShop) -> None:
    lines = [OrderLine(product_id, 1) for product_id in sorted(new_id() for _ in range(3))]
    cart = [lines[1], lines[2], lines[0]]
    started: list[OrderInput] = []

    async def note(order: OrderInput) -> None:
        started.append(order)

    shop.sagas.on_start = note
    order_id = await shop.pending(new_order(lines=cart))
    await shop.orders.restart(order_id)

    assert [item.product_id for item in (await shop.order(order_id)).items] == [line.product_id for line in cart]
    for _, _, data in await shop.events(order_id, after=0):
        assert [line.product_id for line in data.lines] == [line.product_id for line in cart]
    assert [order.lines for order in started] == [lines, lines]


async def test_an_order_keeps_what_its_products_were_called_when_it_was_priced(shop: OrderShop) -> None:
    line = OrderLine(new_id(), 2)
    order_id = await shop.received(new_order(lines=[line]))
    priced = PricedLine(line.product_id, line.quantity, 500, name="Mug")
    pricing = Pricing(lines=[priced], total=1_000, payment_id=new_id(), payment_deadline=DEADLINE)

    before = await shop.order(order_id)
    await shop.orders.mark(Mark(order_id=order_id, cause_id="pending", to_status=OrderStatus.PENDING), pricing)

    assert (before.items[0].name, (await shop.order(order_id)).items[0].name) == (None, "Mug")
    assert [data.lines[0].name for _, _, data in await shop.events(order_id, after=0)] == ["", "Mug"]


async def test_a_repeated_mark_returns_the_stored_deadline_and_makes_no_second_event(shop: OrderShop) -> None:
    order_id = await shop.pending()

    again = await shop.mark_pending(order_id, payment_deadline=DEADLINE + timedelta(days=1))

    assert again.payment_deadline == DEADLINE
    assert await fetch_rows(shop.database, EVENTS, order_id=order_id) == [(1,), (2,)]


async def test_a_closed_order_keeps_its_status(shop: OrderShop) -> None:
    order_id = await shop.received()
    await shop.close(order_id, OrderStatus.FAILED, reason="OUT_OF_STOCK")

    state = await shop.orders.mark(Mark(order_id=order_id, cause_id="late", to_status=OrderStatus.PAID))

    assert (state.status, state.reason, state.seq) == (OrderStatus.FAILED, "OUT_OF_STOCK", 2)


async def test_an_order_is_not_paid_before_it_is_pending(shop: OrderShop) -> None:
    order_id = await shop.received()

    state = await shop.close(order_id, OrderStatus.PAID)

    assert (state.status, state.seq) == (OrderStatus.RECEIVED, 1)


async def test_of_concurrent_marks_exactly_one_wins(shop: OrderShop) -> None:
    order_id = await shop.pending()
    wanted = [OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED] * 3

    states = await asyncio.gather(
        *(
            shop.orders.mark(Mark(order_id=order_id, cause_id=f"cause-{number}", to_status=status))
            for number, status in enumerate(wanted)
        )
    )

    order = await shop.order(order_id)
    assert {state.status for state in states} == {order.status}
    assert [t.seq for t in order.transitions] == [1, 2, 3]


async def test_of_two_marks_at_once_each_finds_the_order_where_the_other_left_it(shop: OrderShop) -> None:
    for _ in range(20):
        order_id = await shop.pending()
        paid = Mark(order_id=order_id, cause_id="paid", to_status=OrderStatus.PAID)
        failed = Mark(order_id=order_id, cause_id="failed", to_status=OrderStatus.FAILED, reason="STOCK_LOST")

        states = await asyncio.gather(*(shop.orders.mark(mark) for mark in (paid, failed, paid)))

        order = await shop.order(order_id)
        assert {state.status for state in states} == {order.status}
        assert [transition.seq for transition in order.transitions] == [1, 2, 3]
        assert await fetch_rows(shop.database, EVENTS, order_id=order_id) == [(1,), (2,), (3,)]


async def test_an_order_that_moves_while_it_is_read_is_of_one_moment(shop: OrderShop) -> None:
    for _ in range(20):
        order_id = await shop.received()

        order, *_ = await asyncio.gather(
            shop.orders.get(order_id, caller=SERVICE),
            shop.mark_pending(order_id),
            shop.close(order_id, OrderStatus.FAILED, reason="OUT_OF_STOCK"),
        )

        assert order.transitions[-1].to_status is order.status


async def test_marking_an_unknown_order_is_refused(shop: OrderShop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.close(new_id(), OrderStatus.FAILED)


async def test_anothers_order_answers_like_one_that_does_not_exist(shop: OrderShop) -> None:
    order_id = await shop.received()
    stranger = Caller(CallerRole.CUSTOMER, new_id())

    with pytest.raises(OrderNotFound) as others:
        await shop.orders.get(order_id, caller=stranger)
    with pytest.raises(OrderNotFound) as missing:
        await shop.orders.get(new_id(), caller=stranger)

    assert others.value.code is missing.value.code
