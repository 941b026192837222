"""Orders by the numbers that people call them."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from domain.order_numbers import parse_order_number
from domain.orders import OrderStatus
from runtime.caller import Caller, CallerRole
from runtime.clock import utc_now
from runtime.settings import Settings
from runtime.wakeups import Wakeups
from services.order.bootstrap import saga_policy
from services.order.errors import OrderNotFound
from services.order.service import OrderService
from tests.support.order_shop import OrderShop, new_order


def service_that_draws(shop: OrderShop, *numbers: str) -> OrderService:
    """The order service, whose numbers are no surprise."""
    drawn = iter(numbers)
    return OrderService(
        shop.database,
        shop.sagas,
        Wakeups(),
        policy=saga_policy(Settings()),
        clock=utc_now,
        admission=shop.components.admission,
        new_number=lambda: next(drawn),
    )


async def test_an_order_is_found_by_its_number_however_it_is_written(shop: OrderShop) -> None:
    new = new_order()
    order = await shop.order(await shop.received(new))
    owner = Caller(CallerRole.CUSTOMER, new.user_id)

    assert parse_order_number(order.number) == order.number
    for written in (order.number, order.number.lower(), order.number.replace("-", ""), order.number.replace("0", "o")):
        assert (await shop.orders.get(written, caller=owner)).id == order.id


async def test_every_event_of_an_order_has_its_number(shop: OrderShop) -> None:
    order_id = await shop.pending()

    events = await shop.events(order_id, after=0)

    number = (await shop.order(order_id)).number
    assert [data.order_number for _, _, data in events] == [number, number]


async def test_a_number_that_is_taken_is_drawn_again(shop: OrderShop) -> None:
    taken, free = (await shop.order(await shop.received())).number, "0000-0000"
    orders = service_that_draws(shop, taken, taken, free)

    created = await orders.create(new_order(), idempotency_key=new_id(), wait=0)

    assert created.order.number == free
    assert [t.to_status for t in created.order.transitions] == [OrderStatus.RECEIVED]


async def test_of_two_orders_with_one_number_at_once_one_draws_again(shop: OrderShop) -> None:
    number = (await shop.order(await shop.received())).number[:-1]  # any text does for the table
    one, two = (service_that_draws(shop, f"{number}*", f"{number}{own}") for own in "?!")

    created = await asyncio.gather(
        *(orders.create(new_order(), idempotency_key=new_id(), wait=0) for orders in (one, two))
    )

    assert len({each.order.number for each in created}) == 2


async def test_anothers_number_answers_like_one_that_nobody_has(shop: OrderShop) -> None:
    order = await shop.order(await shop.received())
    stranger = Caller(CallerRole.CUSTOMER, new_id())

    with pytest.raises(OrderNotFound) as others:
        await shop.orders.get(order.number, caller=stranger)
    with pytest.raises(OrderNotFound) as missing:
        await shop.orders.get("0000-0011", caller=stranger)

    assert order.id not in str(others.value)
    assert others.value.code is missing.value.code


async def test_a_mistyped_number_is_said_to_be_one(shop: OrderShop) -> None:
    order = await shop.order(await shop.received())
    wrong = order.number[:-1] + ("7" if order.number[-1] != "7" else "8")

    with pytest.raises(OrderNotFound, match="a letter of its number is wrong"):
        await shop.orders.get(wrong, caller=Caller(CallerRole.ADMIN, new_id()))


async def test_an_order_is_cancelled_by_its_number_and_a_repeat_may_name_its_id(shop: OrderShop) -> None:
    new = new_order()
    order = await shop.order(await shop.received(new))
    owner, key = Caller(CallerRole.CUSTOMER, new.user_id), new_id()

    first = await shop.cancellations.cancel(order.number, caller=owner, note="", idempotency_key=key, wait=0)
    again = await shop.cancellations.cancel(order.id, caller=owner, note="", idempotency_key=key, wait=0)

    assert (first.replayed, again.replayed) == (False, True)
    assert {each[0] for each in shop.sagas.cancelled} >= {order.id}
