"""What an order makes of updates of its refunds, on a real PostgreSQL."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.refusal import InvalidArgument, Unavailable
from services.order.errors import OrderNotFound
from services.order.model import Mark
from tests.support.order_shop import TOTAL, OrderShop, refund_update, revised


async def test_refunds_add_up_until_all_is_refunded(shop: OrderShop) -> None:
    order_id = await shop.paid()

    first = await shop.orders.mark_refunded(refund_update(order_id, amount=300))
    second = await shop.orders.mark_refunded(refund_update(order_id, amount=200))
    last = await shop.orders.mark_refunded(refund_update(order_id, amount=500))

    assert [(state.status, state.refunded, state.reason) for state in (first, second, last)] == [
        ("PARTIALLY_REFUNDED", 300, None),
        ("PARTIALLY_REFUNDED", 500, None),
        ("REFUNDED", 1_000, None),
    ]
    order = await shop.order(order_id)
    assert (order.status, order.refunded, order.total) == ("REFUNDED", 1_000, 1_000)
    assert [(t.seq, t.from_status, t.to_status, t.reason) for t in order.transitions[3:]] == [
        (4, "PAID", "PARTIALLY_REFUNDED", None),
        (5, "PARTIALLY_REFUNDED", "PARTIALLY_REFUNDED", None),
        (6, "PARTIALLY_REFUNDED", "REFUNDED", None),
    ]
    assert await shop.disagreements(order_id) == []


async def test_each_refund_is_an_event_that_names_it_and_what_was_refunded(shop: OrderShop) -> None:
    order_id = await shop.paid()
    first, second = refund_update(order_id, amount=300), refund_update(order_id, amount=700)
    for update in (first, second, revised(second, succeeded=False, version=3)):
        await shop.orders.mark_refunded(update)

    events = await shop.events(order_id)

    assert [(seq, kind, e.refund_id, e.refund_amount, e.refunded, e.total) for seq, kind, e in events] == [
        (4, "order.refunded", first.refund_id, 300, 300, 1_000),
        (5, "order.refunded", second.refund_id, 700, 1_000, 1_000),
        (6, "order.refund_failed", second.refund_id, 700, 300, 1_000),
    ]
    assert [(e.from_status, e.to_status, e.reason) for _, _, e in events] == [
        ("PAID", "PARTIALLY_REFUNDED", ""),
        ("PARTIALLY_REFUNDED", "REFUNDED", ""),
        ("REFUNDED", "PARTIALLY_REFUNDED", ""),
    ]
    assert all(len(e.lines) == 1 and e.HasField("payment_deadline") for _, _, e in events)


async def test_an_event_of_another_kind_names_no_refund(shop: OrderShop) -> None:
    order_id = await shop.paid()

    *_, (_, kind, paid) = await shop.events(order_id, after=0)

    assert (kind, paid.refund_id, paid.refund_amount, paid.refunded) == ("order.paid", "", 0, 0)


async def test_a_refund_that_stripe_took_back_can_leave_the_order_paid(shop: OrderShop) -> None:
    order_id = await shop.paid()
    update = refund_update(order_id, amount=TOTAL)
    await shop.orders.mark_refunded(update)

    state = await shop.orders.mark_refunded(revised(update, succeeded=False, version=3))

    assert (state.status, state.refunded) == ("PAID", 0)
    assert await shop.history(order_id) == ["REFUNDED", "PAID"]
    again = await shop.orders.mark_refunded(revised(update, version=4))
    assert (again.status, again.refunded) == ("REFUNDED", 1_000)
    assert await shop.disagreements(order_id) == []


async def test_what_is_not_newer_changes_nothing(shop: OrderShop) -> None:
    order_id = await shop.paid()
    update = refund_update(order_id, version=5)
    await shop.orders.mark_refunded(update)

    for old in (update, revised(update, succeeded=False), revised(update, succeeded=False, version=4)):
        state = await shop.orders.mark_refunded(old)
        assert (state.status, state.refunded) == ("PARTIALLY_REFUNDED", 100)

    assert await shop.history(order_id) == ["PARTIALLY_REFUNDED"]
    assert await shop.refunds(order_id) == [(100, True, 5)]


async def test_updates_without_a_change_of_success_are_recorded_and_move_nothing(shop: OrderShop) -> None:
    order_id = await shop.paid()
    update = refund_update(order_id, succeeded=False, version=7)

    state = await shop.orders.mark_refunded(update)
    assert (state.status, state.seq, await shop.refunds(order_id)) == ("PAID", 3, [(100, False, 7)])

    await shop.orders.mark_refunded(revised(update, succeeded=True, version=6))  # came late
    assert await shop.history(order_id) == []

    for version in (8, 9):
        await shop.orders.mark_refunded(revised(update, succeeded=True, version=version))
    assert await shop.history(order_id) == ["PARTIALLY_REFUNDED"]
    assert await shop.refunds(order_id) == [(100, True, 9)]


@pytest.mark.parametrize("status", [OrderStatus.FAILED, OrderStatus.CANCELLED])
async def test_an_order_that_ended_unpaid_stays_as_it_is(shop: OrderShop, status: OrderStatus) -> None:
    order_id = await shop.pending()
    await shop.orders.mark(Mark(order_id=order_id, cause_id="closed", to_status=status, reason="STOCK_LOST"))

    state = await shop.orders.mark_refunded(refund_update(order_id, amount=TOTAL))

    assert (state.status, state.reason, state.refunded, state.seq) == (status, "STOCK_LOST", 0, 3)
    assert (await shop.refunds(order_id), await shop.history(order_id)) == ([], [])


async def test_an_open_order_takes_the_update_later(shop: OrderShop) -> None:
    for order_id in (await shop.received(), await shop.pending()):
        with pytest.raises(Unavailable):
            await shop.orders.mark_refunded(refund_update(order_id))
        assert await shop.refunds(order_id) == []


async def test_a_refund_of_an_unknown_order_or_of_another_one_is_refused(shop: OrderShop) -> None:
    update = refund_update(await shop.paid())
    await shop.orders.mark_refunded(update)
    other = await shop.paid()

    with pytest.raises(OrderNotFound):
        await shop.orders.mark_refunded(refund_update(new_id()))
    with pytest.raises(InvalidArgument):
        await shop.orders.mark_refunded(revised(update, order_id=other, version=3))
    assert await shop.history(other) == []


async def test_more_refunded_than_was_paid_is_logged(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await shop.orders.mark_refunded(refund_update(order_id, amount=TOTAL))

    with capture_logs() as logs:
        state = await shop.orders.mark_refunded(refund_update(order_id, amount=1))

    assert (state.status, state.refunded) == ("REFUNDED", TOTAL + 1)
    assert [(line["event"], line["log_level"], line["refunded"]) for line in logs] == [
        ("order.refunded_too_much", "error", TOTAL + 1)
    ]
    assert f"REFUNDED, but refunded {TOTAL + 1} of {TOTAL}" in await shop.disagreements(order_id)


async def test_a_refund_keeps_its_first_amount(shop: OrderShop) -> None:
    order_id = await shop.paid()
    update = refund_update(order_id, amount=300)
    await shop.orders.mark_refunded(update)

    with capture_logs() as logs:
        state = await shop.orders.mark_refunded(revised(update, amount=999, succeeded=False, version=3))

    assert (state.status, state.refunded) == ("PAID", 0)
    assert [line["event"] for line in logs] == ["order.refund_differs"]


@pytest.mark.parametrize("mark", [OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED, OrderStatus.PENDING])
async def test_no_mark_of_a_saga_moves_a_refunded_order(shop: OrderShop, mark: OrderStatus) -> None:
    for amount, status in ((100, "PARTIALLY_REFUNDED"), (TOTAL, "REFUNDED")):
        order_id = await shop.paid()
        await shop.orders.mark_refunded(refund_update(order_id, amount=amount))

        for cause in ("order_saga:closed", "another"):
            state = await shop.orders.mark(Mark(order_id=order_id, cause_id=cause, to_status=mark))
            assert (state.status, state.refunded) == (status, amount)

        assert await shop.history(order_id) == [status]
