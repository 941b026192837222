"""A customer is forgotten: the orders stay, and no name, address or words of theirs."""

from __future__ import annotations

import json

from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.caller import Caller, CallerRole
from services.order.erasure import Erased
from services.order.model import Address
from tests.support.order_shop import OrderShop, new_order
from tests.support.rows import fetch_rows

NOTHING = Address(name="", line1="", line2="", city="", postal_code="", country="DE")


async def stored(shop: OrderShop, order_id: str) -> str:
    rows = await fetch_rows(
        shop.database,
        """
        SELECT to_jsonb(o) FROM orders AS o WHERE id = %(id)s
         UNION ALL SELECT to_jsonb(r) FROM cancellation_requests AS r WHERE order_id = %(id)s
        """,
        id=order_id,
    )
    return json.dumps([row[0] for row in rows])


async def test_an_order_that_has_ended_keeps_all_but_its_customer(shop: OrderShop) -> None:
    new = new_order(payment_method="pm_card_visa", shop_metadata={"engraving": "For Ada"})
    order_id = await shop.pending(new)
    await shop.close(order_id, OrderStatus.PAID)
    before = await shop.order(order_id)

    assert await shop.components.erasure.erase(new.user_id) == Erased(more=False, open_orders=0)

    after = await shop.order(order_id)
    assert (after.shipping_address, after.shop_metadata) == (NOTHING, {})
    was = {"shipping_address": before.shipping_address, "shop_metadata": before.shop_metadata}
    assert after.model_copy(update=was) == before
    text = await stored(shop, order_id)
    assert not [word for word in ("Customer", "1 Street", "Town", "12345", "pm_card_visa", "For Ada") if word in text]


async def test_an_open_order_needs_its_address_until_it_has_ended(shop: OrderShop) -> None:
    new = new_order()
    order_id = await shop.pending(new)

    assert await shop.components.erasure.erase(new.user_id) == Erased(more=False, open_orders=1)
    assert (await shop.order(order_id)).shipping_address == new.shipping_address
    await shop.close(order_id, OrderStatus.CANCELLED, reason="CUSTOMER")

    assert await shop.components.erasure.erase(new.user_id) == Erased(more=False, open_orders=0)
    assert (await shop.order(order_id)).shipping_address == NOTHING


async def test_what_the_customer_wrote_is_forgotten_and_what_others_ordered_is_not(shop: OrderShop) -> None:
    new, other = new_order(), new_order()
    order_id, kept = await shop.pending(new), await shop.pending(other)
    for each in (order_id, kept):
        caller = Caller(CallerRole.CUSTOMER, (await shop.order(each)).user_id)
        await shop.cancellations.cancel(each, caller=caller, note="I moved", idempotency_key=new_id(), wait=0)
        await shop.close(each, OrderStatus.CANCELLED, reason="CUSTOMER")

    for _ in range(2):
        await shop.components.erasure.erase(new.user_id)

    assert "I moved" not in await stored(shop, order_id)
    assert "I moved" in await stored(shop, kept)
    assert (await shop.order(kept)).shipping_address == other.shipping_address
