"""The audit of units that refunds put back, in a shop in memory."""

from __future__ import annotations

from cli.audit.invariants import stock_adds_up
from domain.orders import OrderLine
from domain.saga import ReserveRequest, RestockRequest
from tests.doubles.shop import DoubledShop
from tests.doubles.stock import Restock

PRODUCT, ORDER = "product", "order"


async def refunded_shop() -> DoubledShop:
    """Of five units three were sold, and two refunds put two back."""
    shop = DoubledShop()
    shop.add_product(PRODUCT, price=1_000, units=5)
    await shop.stock.reserve(ReserveRequest(order_id=ORDER, lines=[OrderLine(PRODUCT, 3)]))
    await shop.stock.commit(ORDER)
    for restock_id in ("first", "second"):
        await shop.stock.restock(RestockRequest(restock_id=restock_id, order_id=ORDER, lines=[OrderLine(PRODUCT, 1)]))
    return shop


async def test_pieces_that_came_back_in_parts_are_no_breach() -> None:
    shop = await refunded_shop()

    facts = shop.facts()

    assert [(restock.restocked, restock.sold) for restock in facts.restocks] == [(2, 3)]
    assert list(stock_adds_up(facts)) == []


async def test_more_pieces_back_than_were_sold_are_a_breach_of_invariant_3() -> None:
    shop = await refunded_shop()
    shop.stock.restocks["third"] = Restock(ORDER, {PRODUCT: 2})

    [breach] = stock_adds_up(shop.facts())

    assert (breach.invariant, breach.subject) == (3, "product product")
    assert breach.what == "4 came back of 3 that were sold to order order"
