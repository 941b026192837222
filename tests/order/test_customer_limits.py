"""What a customer may have unpaid at a time: exact, however many orders come at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import pytest

from domain.ids import new_id
from domain.orders import OrderLine, OrderStatus
from runtime.refusal import Refused
from services.order.customer_limits import CustomerLimits, TooManyHeldUnits, TooManyOpenOrders
from services.order.model import Guest
from services.order.repository import HOLDINGS
from services.order.service import Created
from tests.support.order_shop import OrderShop, new_order

FEW = CustomerLimits(orders=5, units=1_000)
LITTLE = CustomerLimits(orders=1_000, units=10)


async def place(
    shop: OrderShop, customer: str, *, units: int = 1, key: str = "", limits: CustomerLimits = FEW
) -> Created:
    new = new_order(user_id=customer, lines=[OrderLine(PRODUCT, units)])
    return await shop.orders.create(new, idempotency_key=key or new_id(), wait=0, limits=limits)


PRODUCT = new_id()


async def count(placing: Sequence[Awaitable[Created]], refusal: type[Refused]) -> int:
    """How many were taken; the others were refused for this reason."""
    answers = await asyncio.gather(*placing, return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, Created)]
    assert all(isinstance(answer, refusal) for answer in answers if not isinstance(answer, Created)), answers
    return len(taken)


async def test_of_many_orders_at_once_as_many_come_in_as_may(shop: OrderShop) -> None:
    customer = new_id()

    assert await count([place(shop, customer) for _ in range(40)], TooManyOpenOrders) == 5


async def test_of_many_orders_at_once_no_more_units_are_held_than_may(shop: OrderShop) -> None:
    customer = new_id()

    placing = [place(shop, customer, units=3, limits=LITTLE) for _ in range(20)]

    assert await count(placing, TooManyHeldUnits) == 3
    assert (await place(shop, customer, units=1, limits=LITTLE)).order.status is OrderStatus.RECEIVED
    with pytest.raises(TooManyHeldUnits, match=r"may hold 10 units together; they hold 10, and this one wants 1"):
        await place(shop, customer, units=1, limits=LITTLE)


async def test_of_a_guests_orders_at_once_as_many_come_in_for_an_address_as_may(shop: OrderShop) -> None:
    address = f"guest-{new_id()}@example.test"
    guests = [Guest(email=address.upper() if number % 2 else address) for number in range(40)]

    async def order(guest: Guest) -> Created:
        new = new_order(user_id=new_id(), lines=[OrderLine(PRODUCT, 1)], guest=guest)
        return await shop.orders.create(new, idempotency_key=new_id(), wait=0, limits=FEW)

    assert await count([order(guest) for guest in guests], TooManyOpenOrders) == 5
    other = await order(Guest(email=f"other-{address}"))
    assert (other.order.is_guest, other.order.guest_email) == (True, f"other-{address}")


async def test_another_customer_has_their_own(shop: OrderShop) -> None:
    full, other = new_id(), new_id()
    await asyncio.gather(*(place(shop, full) for _ in range(5)))

    assert not (await place(shop, other)).replayed


@pytest.mark.parametrize("status", [OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED])
async def test_an_order_that_has_closed_makes_room(shop: OrderShop, status: OrderStatus) -> None:
    customer = new_id()
    [first, *_] = await asyncio.gather(*(place(shop, customer) for _ in range(5)))
    await shop.mark_pending(first.order.id)
    with pytest.raises(TooManyOpenOrders, match="there are 5 unpaid orders of yours already"):
        await place(shop, customer)

    await shop.close(first.order.id, status)

    assert await count([place(shop, customer) for _ in range(3)], TooManyOpenOrders) == 1


async def test_a_repeat_is_answered_whatever_came_since_and_a_refused_key_may_be_used_again(shop: OrderShop) -> None:
    customer, first_key, refused_key = new_id(), new_id(), new_id()
    first = await place(shop, customer, key=first_key)
    await asyncio.gather(*(place(shop, customer) for _ in range(4)))
    with pytest.raises(TooManyOpenOrders):
        await place(shop, customer, key=refused_key)

    again = await place(shop, customer, key=first_key)
    await shop.close(first.order.id, OrderStatus.CANCELLED)
    later = await place(shop, customer, key=refused_key)

    assert (again.order.id, again.replayed) == (first.order.id, True)
    assert not later.replayed


async def test_concurrent_duplicates_of_the_last_order_are_one(shop: OrderShop) -> None:
    customer, key = new_id(), new_id()
    await asyncio.gather(*(place(shop, customer) for _ in range(4)))

    answers = await asyncio.gather(*(place(shop, customer, key=key) for _ in range(10)))

    assert len({answer.order.id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1


async def test_what_a_customer_holds_is_read_from_their_open_orders_alone(empty_shop: OrderShop) -> None:
    customer = new_id()
    await empty_shop.received(new_order(user_id=customer))
    async with empty_shop.database.autocommit() as connection:
        await connection.execute(CLOSED, customer=customer)
        await connection.execute("ANALYZE orders")
        plan: list[dict[str, str]] = await connection.fetch_all(dict, f"EXPLAIN {HOLDINGS}", user_id=customer)
        await connection.execute("TRUNCATE orders CASCADE")

    lines = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "ix_orders_held" in lines or "ix_orders_open" in lines, lines
    assert "Seq Scan on orders" not in lines


CLOSED = """
    INSERT INTO orders (id, number, user_id, status, currency, refunded, payment_window_seconds, shipping_address, seq,
                        created_at, updated_at, attempts, next_attempt_at)
    SELECT gen_random_uuid(), number, %(customer)s, 'PAID', 'EUR', 0, 900, '{}', 3, now(), now(), 0, now()
      FROM generate_series(1, 20000) AS number
"""
