"""Updates of refunds at once, over connections of their own: nothing is lost, counted twice, or out of order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.refusal import Unavailable
from services.order.model import Mark, OrderState, RefundUpdate
from tests.support.order_shop import TOTAL, OrderShop, refund_update, revised

AT_ONCE = 16


async def apply(shop: OrderShop, updates: Sequence[RefundUpdate]) -> list[OrderState]:
    return await asyncio.gather(*(shop.orders.mark_refunded(each) for each in updates))


async def check_history(shop: OrderShop, order_id: str) -> None:
    """The history is gapless and legal, and says with its events what the order has."""
    order = await shop.order(order_id)
    assert await shop.disagreements(order_id) == []
    assert [t.seq for t in order.transitions] == list(range(1, len(order.transitions) + 1))
    refunded = 0
    events = await shop.events(order_id)
    assert [seq for seq, _, _ in events] == [t.seq for t in order.transitions[3:]]
    for (_, kind, event), transition in zip(events, order.transitions[3:], strict=True):
        refunded += event.refund_amount if kind == "order.refunded" else -event.refund_amount
        assert (event.refunded, event.to_status, event.from_status) == (
            refunded,
            transition.to_status,
            transition.from_status,
        )
    assert order.refunded == refunded == sum(row[0] for row in await shop.refunds(order_id) if row[1])


async def test_many_refunds_of_one_order_at_once_are_all_counted(shop: OrderShop) -> None:
    order_id = await shop.paid()

    states = await apply(shop, [refund_update(order_id, amount=TOTAL // 10) for _ in range(10)])

    order = await shop.order(order_id)
    assert (order.status, order.refunded) == ("REFUNDED", TOTAL)
    assert await shop.history(order_id) == ["PARTIALLY_REFUNDED"] * 9 + ["REFUNDED"]
    assert sorted(state.refunded for state in states) == [TOTAL // 10 * number for number in range(1, 11)]
    await check_history(shop, order_id)


async def test_an_update_applied_many_times_at_once_is_counted_once(shop: OrderShop) -> None:
    order_id = await shop.paid()

    states = await apply(shop, [refund_update(order_id, new_id())] * AT_ONCE)

    assert {(state.status, state.refunded) for state in states} == {("PARTIALLY_REFUNDED", 100)}
    assert await shop.history(order_id) == ["PARTIALLY_REFUNDED"]
    await check_history(shop, order_id)


async def test_of_versions_at_once_the_newest_stands_whatever_came_last(shop: OrderShop) -> None:
    order_id, refund_id = await shop.paid(), new_id()
    versions = [
        refund_update(order_id, refund_id, succeeded=version % 3 != 0, version=version)
        for version in range(1, AT_ONCE + 1)
    ]

    await apply(shop, random.sample(versions, k=AT_ONCE))

    assert await shop.refunds(order_id) == [(100, versions[-1].succeeded, AT_ONCE)]
    await check_history(shop, order_id)


async def test_refunds_and_their_taking_back_at_once_agree_at_the_end(shop: OrderShop) -> None:
    order_id = await shop.paid()
    kept, taken_back = [refund_update(order_id) for _ in range(4)], [refund_update(order_id) for _ in range(6)]
    updates = [
        *kept,
        *taken_back,
        *(revised(each, succeeded=False, version=each.version - 1) for each in kept),
        *(revised(each, succeeded=False, version=each.version + 1) for each in taken_back),
    ]

    await apply(shop, random.sample(updates, k=len(updates)))

    order = await shop.order(order_id)
    assert (order.status, order.refunded) == ("PARTIALLY_REFUNDED", 400)
    assert sorted(await shop.refunds(order_id)) == sorted([(100, True, 2)] * 4 + [(100, False, 3)] * 6)
    await check_history(shop, order_id)


async def test_updates_that_move_nothing_are_not_overtaken_by_older_ones(shop: OrderShop) -> None:
    for _ in range(8):
        order_id, refund_id = await shop.paid(), new_id()

        await apply(
            shop,
            [
                refund_update(order_id, refund_id, succeeded=True, version=2),
                refund_update(order_id, refund_id, succeeded=False, version=9),
                refund_update(order_id, refund_id, succeeded=False, version=1),
            ],
        )

        assert await shop.refunds(order_id) == [(100, False, 9)]
        assert (await shop.order(order_id)).status is OrderStatus.PAID
        await check_history(shop, order_id)


async def test_a_refund_that_races_the_mark_that_closes_the_order_follows_it(shop: OrderShop) -> None:
    for status in (OrderStatus.PAID, OrderStatus.FAILED):
        order_id = await shop.pending()
        closing = Mark(order_id=order_id, cause_id="order_saga:closed", to_status=status)

        async def apply_until_taken(order_id: str) -> OrderState:
            while True:
                try:
                    return await shop.orders.mark_refunded(refund_update(order_id, amount=TOTAL))
                except Unavailable:
                    continue

        state, *marks = await asyncio.gather(
            apply_until_taken(order_id), *(shop.orders.mark(closing) for _ in range(4))
        )

        wanted = OrderStatus.REFUNDED if status is OrderStatus.PAID else status
        assert state.status is wanted
        assert {mark.status for mark in marks} <= {status, wanted}
        assert (await shop.order(order_id)).status is wanted
        if status is OrderStatus.PAID:
            await check_history(shop, order_id)


@pytest.mark.parametrize("orders", [8])
async def test_refunds_of_many_orders_at_once_do_not_meet(shop: OrderShop, orders: int) -> None:
    order_ids = [await shop.paid() for _ in range(orders)]

    await apply(shop, [refund_update(order_id) for order_id in order_ids for _ in range(3)])

    for order_id in order_ids:
        assert (await shop.order(order_id)).refunded == 300
        await check_history(shop, order_id)
