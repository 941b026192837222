"""Lists of orders: what filters let through, and that each page is read from an index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from domain.concerns import ConcernKind
from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.caller import Caller, CallerRole, PermissionDenied
from runtime.refusal import InvalidArgument
from services.order import lists
from services.order.lists import OrderFilter, select_page
from services.order.model import Order
from tests.support.order_shop import TOTAL, OrderShop, new_order, open_order_shop

ADMIN = Caller(CallerRole.ADMIN, new_id())


def _fields(wanted: OrderFilter) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in OrderFilter.__dataclass_fields__}


async def listed(shop: OrderShop, wanted: OrderFilter, *, caller: Caller = ADMIN, page_size: int = 2) -> list[str]:
    """The ids of what a list shows, read page by page."""
    ids: list[str] = []
    before = None
    while True:
        page = await shop.orders.list_orders(
            OrderFilter(**{**_fields(wanted), "before": before}), caller=caller, page_size=page_size
        )
        ids += [order.id for order in page.orders]
        before = page.next_before
        if before is None:
            return ids


async def some_orders(shop: OrderShop, customer: str, count: int = 5) -> list[Order]:
    """Orders of one customer, the newest first; every other one is PENDING, at 10.00 EUR."""
    new = new_order(user_id=customer)
    ids = [await (shop.pending(new) if number % 2 else shop.received(new)) for number in range(count)]
    return [await shop.order(order_id) for order_id in ids][::-1]


async def test_filters_let_through_what_fits_all_of_them(shop: OrderShop) -> None:
    customer = new_id()
    orders = await some_orders(shop, customer)
    ids, pending = [order.id for order in orders], [orders[1].id, orders[3].id]
    middle = orders[2].created_at

    async def of(**wanted: Any) -> list[str]:
        return await listed(shop, OrderFilter(user_id=customer, **wanted))

    assert await of() == ids
    assert await of(status=OrderStatus.PENDING) == pending
    assert await of(number=orders[4].number) == ids[4:]
    assert await of(created_from=middle) == ids[:3]
    assert await of(created_before=middle) == ids[3:]
    assert await of(created_from=middle, created_before=orders[0].created_at, status=OrderStatus.PENDING) == ids[1:2]
    assert await of(total_min=TOTAL) == await of(total_max=TOTAL) == pending
    assert await of(total_min=TOTAL + 1) == await of(total_max=TOTAL - 1) == []


async def test_extreme_moments_are_moments(shop: OrderShop) -> None:
    customer = new_id()
    [order] = await some_orders(shop, customer, 1)
    utc = order.created_at.tzinfo

    spanned = OrderFilter(
        user_id=customer,
        created_from=datetime.min.replace(tzinfo=utc),
        created_before=datetime.max.replace(tzinfo=utc),
    )

    assert await listed(shop, spanned) == [order.id]


async def test_orders_that_need_a_person_are_found_until_they_do_not(shop: OrderShop) -> None:
    customer = new_id()
    first, second, *_ = await some_orders(shop, customer)
    for order in (first, second):
        await shop.attention.raise_for_step(
            kind=ConcernKind.ORDER, subject_id=order.id, order_id=order.id, step="reserve", cause="away"
        )
    await shop.attention.clear(kind=ConcernKind.ORDER, subject_id=first.id, step="reserve")

    assert await listed(shop, OrderFilter(user_id=customer, needs_attention=True)) == [second.id]


async def test_a_customer_lists_their_own_alone_and_not_by_who_else_is_needed(shop: OrderShop) -> None:
    own, others = new_id(), new_id()
    orders = await some_orders(shop, own, 3)
    [foreign] = await some_orders(shop, others, 1)
    customer = Caller(CallerRole.CUSTOMER, own)

    assert await listed(shop, OrderFilter(), caller=customer) == [order.id for order in orders]
    assert await listed(shop, OrderFilter(user_id=own), caller=customer) == [order.id for order in orders]
    assert await listed(shop, OrderFilter(number=foreign.number), caller=customer) == []
    for refused in (OrderFilter(user_id=others), OrderFilter(needs_attention=True)):
        with pytest.raises(PermissionDenied):
            await listed(shop, refused, caller=customer)


async def test_a_text_is_found_in_names_of_products_and_in_metadata_as_it_is_written(shop: OrderShop) -> None:
    customer = new_id()
    mug, other = [await shop.pending(new_order(user_id=customer)) for _ in range(2)]
    engraved = await shop.received(new_order(user_id=customer, shop_metadata={"engraving": r"100%_\ Ada"}))
    await shop.received(new_order(shop_metadata={"engraving": "Ada"}))
    async with shop.database.autocommit() as connection:
        await connection.execute("UPDATE order_items SET name = 'Blue Mug' WHERE order_id = %(id)s", id=mug)

    async def found(text: str) -> list[str]:
        return await listed(shop, OrderFilter(user_id=customer, search=text))

    assert await found("mug") == [mug]
    assert await found("ADA") == await found("%") == await found("_") == await found("\\") == [engraved]
    assert await found("engraving") == await found("g%m") == []
    own = Caller(CallerRole.CUSTOMER, customer)
    assert await listed(shop, OrderFilter(search="mug"), caller=own) == [mug]
    assert other in await listed(shop, OrderFilter(user_id=customer))


async def test_a_text_is_not_searched_for_among_everybodys_orders(shop: OrderShop) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await listed(shop, OrderFilter(search="mug"))

    assert set(caught.value.details) == {"search"}


MANY = """
    INSERT INTO orders (id, number, user_id, status, currency, total, refunded, payment_window_seconds,
                        shipping_address, seq, created_at, updated_at, attempts, next_attempt_at)
    SELECT (lpad(to_hex(%(began)s::bigint * 1000 + n * 1000), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
           n::text, CASE WHEN mod(n, 1000) = 0 THEN %(rare)s ELSE gen_random_uuid() END,
           CASE WHEN mod(n, 500) = 0 THEN 'PENDING' ELSE 'PAID' END, 'EUR', 1000, 0, 900,
           '{}', 3, to_timestamp(%(began)s + n), now(), 0, now()
      FROM generate_series(1, 50000) AS n
"""
RARE = "0197a6a5-0000-7000-8000-00000000feed"
BEGAN = datetime.fromisoformat("2025-11-24T16:00:00+00:00")


@pytest_asyncio.fixture(scope="module")
async def many(databases: Mapping[str, str]) -> AsyncIterator[OrderShop]:
    """A shop with 50,000 orders, of which one customer has one in a thousand, and one in 500 is PENDING."""
    async with open_order_shop(databases["order"]) as shop:
        async with shop.database.autocommit() as connection:
            await connection.execute("TRUNCATE orders, concerns, actions CASCADE")
            await connection.execute(MANY, rare=RARE, began=int(BEGAN.timestamp()))
            await connection.execute("ANALYZE orders")
        yield shop
        async with shop.database.autocommit() as connection:
            await connection.execute("TRUNCATE orders, concerns, actions CASCADE")


@pytest.mark.parametrize(
    "wanted",
    [
        OrderFilter(),
        OrderFilter(user_id=RARE),
        OrderFilter(status=OrderStatus.PENDING),
        OrderFilter(user_id=RARE, status=OrderStatus.PAID),
        OrderFilter(user_id=RARE, status=OrderStatus.FAILED),
        OrderFilter(number="25000"),
        OrderFilter(created_from=BEGAN + timedelta(hours=1), created_before=BEGAN + timedelta(hours=1, minutes=1)),
        OrderFilter(user_id=RARE, created_before=BEGAN + timedelta(hours=1)),
        OrderFilter(needs_attention=True),
        OrderFilter(user_id=RARE, total_min=1),
        OrderFilter(user_id=RARE, search="mug"),
    ],
    ids=lambda wanted: " ".join(name for name, value in _fields(wanted).items() if value),
)
async def test_a_page_reads_few_blocks_however_many_orders_there_are(many: OrderShop, wanted: OrderFilter) -> None:
    statement, parameters = select_page(wanted, limit=51)
    async with many.database.autocommit() as connection:
        [[plan]] = await connection.fetch_all(
            _first_column, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", **parameters
        )

    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 500, plan


def _first_column(**row: Any) -> Any:
    return next(iter(row.values()))


async def test_a_page_looks_through_so_many_orders_and_the_next_one_goes_on_behind_them(
    shop: OrderShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKED_THROUGH", 2)
    customer = new_id()
    orders = await some_orders(shop, customer, count=5)
    ids, pending = [order.id for order in orders], [orders[1].id, orders[3].id]
    dear = OrderFilter(user_id=customer, total_min=1)

    first = await shop.orders.list_orders(dear, caller=ADMIN, page_size=10)

    assert ([order.id for order in first.orders], first.next_before) == (pending[:1], ids[1])
    assert await listed(shop, dear, page_size=10) == pending
    assert await listed(shop, OrderFilter(user_id=customer, search="no such thing"), page_size=10) == []
