"""Waiting for what happens to an order next."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.wakeups import Wakeups
from services.order.errors import OrderNotFound
from services.order.model import Order
from tests.support.order_shop import OrderShop, new_order


def later(shop: OrderShop, order_id: str, *, after: int, wait: float = 60) -> asyncio.Task[Order]:
    return asyncio.create_task(shop.orders.await_transitions(order_id, caller=SERVICE, after=after, wait=wait))


async def test_what_is_there_is_answered_at_once(shop: OrderShop) -> None:
    order_id = await shop.pending()

    order = await shop.orders.await_transitions(order_id, caller=SERVICE, after=1, wait=60)

    assert order.transitions[-1].seq == 2


async def test_everybody_who_waits_is_woken_by_the_next_transition(shop: OrderShop) -> None:
    order_id, other_id = await shop.received(), await shop.received()
    waiting = [later(shop, order_id, after=1) for _ in range(20)]
    other = later(shop, other_id, after=1)

    await shop.mark_pending(order_id)
    orders = await asyncio.gather(*waiting)

    assert {order.status for order in orders} == {OrderStatus.PENDING}
    assert not other.done()
    other.cancel()


async def test_a_wait_in_vain_ends_with_the_order_as_it_is(shop: OrderShop) -> None:
    order_id = await shop.received()

    order = await shop.orders.await_transitions(order_id, caller=SERVICE, after=1, wait=0.05)

    assert order.transitions[-1].seq == 1


async def test_a_transition_that_nobody_heard_of_is_found_at_the_end_of_the_wait(
    shop: OrderShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await shop.received()
    monkeypatch.setattr(Wakeups, "wake", lambda *_: None)
    waiting = later(shop, order_id, after=1, wait=3)

    await shop.mark_pending(order_id)

    assert (await waiting).status is OrderStatus.PENDING


async def test_nobody_waits_for_an_order_that_cannot_move_any_more(shop: OrderShop) -> None:
    order_id = await shop.received()
    await shop.close(order_id, OrderStatus.FAILED)

    order = await shop.orders.await_transitions(order_id, caller=SERVICE, after=2, wait=60)

    assert order.status is OrderStatus.FAILED


async def test_a_stranger_does_not_wait_for_anothers_order(shop: OrderShop) -> None:
    order_id = await shop.received(new_order())

    with pytest.raises(OrderNotFound):
        await shop.orders.await_transitions(order_id, caller=Caller(CallerRole.CUSTOMER, new_id()), after=0, wait=60)
