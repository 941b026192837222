"""Every way an order can end, in the time-skipping environment, on real services."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from domain.ids import new_id
from domain.orders import OrderStatus, PricedLine
from domain.saga import OrderResult
from runtime.database import Database
from services.order.model import Mark, Pricing
from tests.support.saga_shop import Shop

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclined"


async def ending(shop: Shop, run: Run) -> tuple[str, str | None]:
    """How the order ended; its workflow says the same as its row."""
    result = await shop.result(run)
    order = await shop.order(run)
    assert (result.status, result.reason) == (order.status, order.reason)
    return order.status, order.reason


async def available(shop: Shop, product: str) -> tuple[int, int]:
    """On hand, and of that reserved."""
    stock = await shop.stock(product)
    return stock.on_hand, stock.reserved


async def test_an_order_with_a_good_card_is_paid(shop: Shop) -> None:
    product = await shop.product(price=1_250, pieces=10)
    run = await shop.place((product, 2), payment_method=VISA, wait=10)
    await shop.deliver_events()

    assert await ending(shop, run) == ("PAID", None)
    assert (await shop.order(run)).total == 2_500
    assert await available(shop, product) == (8, 0)
    assert await shop.disagreements(run) == []


async def test_an_order_is_paid_by_re_reading_when_no_event_comes(shop: Shop) -> None:
    product = await shop.product()
    run = await shop.place((product, 1), payment_method=VISA, wait=10)

    assert await ending(shop, run) == ("PAID", None)
    assert await shop.disagreements(run) == []


async def test_a_declined_customer_may_pay_with_another_card(shop: Shop) -> None:
    product = await shop.product()
    run = await shop.place((product, 1), payment_method=DECLINED, wait=10)
    assert (await shop.order(run)).status == "PENDING"

    assert await shop.pay(run, VISA)
    await shop.deliver_events()

    assert await ending(shop, run) == ("PAID", None)
    assert await shop.disagreements(run) == []


async def test_three_declined_charges_fail_the_order_and_free_its_stock(shop: Shop) -> None:
    product = await shop.product(pieces=5)
    run = await shop.place((product, 3), payment_method=DECLINED, wait=10)
    for _ in range(2):
        assert not await shop.pay(run, DECLINED)
        await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "PAYMENT_DECLINED")
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_a_second_line_out_of_stock_frees_the_first(shop: Shop) -> None:
    plenty, scarce = await shop.product(pieces=10), await shop.product(pieces=1)
    run = await shop.place((plenty, 4), (scarce, 2), payment_method=VISA)

    assert await ending(shop, run) == ("FAILED", "OUT_OF_STOCK")
    assert await available(shop, plenty) == (10, 0)
    assert await shop.disagreements(run) == []


async def test_an_unknown_product_fails_the_order(shop: Shop) -> None:
    run = await shop.place((new_id(), 1))

    assert await ending(shop, run) == ("FAILED", "PRODUCT_NOT_FOUND")


async def test_an_order_that_nobody_pays_fails_at_its_deadline_and_frees_its_stock(shop: Shop) -> None:
    product = await shop.product(pieces=3)
    run = await shop.place((product, 2), payment_window_seconds=3_600)

    assert await ending(shop, run) == ("FAILED", "PAYMENT_TIMEOUT")
    assert await available(shop, product) == (3, 0)
    assert await shop.disagreements(run) == []


async def test_of_two_customers_one_gets_the_last_piece(shop: Shop) -> None:
    product = await shop.product(pieces=1)
    runs = await asyncio.gather(*(shop.place((product, 1), payment_method=VISA, wait=10) for _ in range(2)))
    await shop.deliver_events()

    endings = [await ending(shop, run) for run in runs]

    assert sorted(endings) == [("FAILED", "OUT_OF_STOCK"), ("PAID", None)]
    assert await available(shop, product) == (0, 0)
    assert [await shop.disagreements(run) for run in runs] == [[], []]


async def test_money_that_comes_with_the_deadline_wins(shop: Shop) -> None:
    product = await shop.product()
    run = await shop.place((product, 1), payment_window_seconds=60, wait=10)
    assert await shop.pay(run)

    assert await ending(shop, run) == ("PAID", None)
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"currency": "USD"}, "CURRENCY_MISMATCH"),
        ({"expected_total": 999}, "PRICE_CHANGED"),
        ({"payment_method": "pm_unknown"}, "PAYMENT_REJECTED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_refusal_fails_the_order_with_its_reason(shop: Shop, changes: dict[str, Any], reason: str) -> None:
    product = await shop.product(price=1_000, pieces=5)
    run = await shop.place((product, 1), **changes)

    assert await ending(shop, run) == ("FAILED", reason)
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_an_amount_below_stripes_minimum_is_refused_before_stock_is_reserved(shop: Shop) -> None:
    product = await shop.product(price=1, pieces=5)
    run = await shop.place((product, 1))

    assert await ending(shop, run) == ("FAILED", "PAYMENT_REJECTED")
    assert "reserve" not in shop.hooks.calls


async def test_an_intent_cancelled_at_stripe_fails_the_order(shop: Shop) -> None:
    product = await shop.product(pieces=5)
    run = await shop.place((product, 1), wait=10)
    payment = await shop.payments.check((await shop.order(run)).id, refresh=False)
    await shop.stripe.v1.payment_intents.cancel_async(payment.intent_id or "")
    await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "PAYMENT_CANCELLED")
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_stock_lost_after_the_payment_gives_the_money_back(shop: Shop) -> None:
    product = await shop.product(pieces=5)
    run = await shop.place((product, 1), payment_method=VISA, wait=10)
    await shop.inventory.release((await shop.order(run)).id)
    await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "STOCK_LOST")
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_a_wrong_amount_is_given_back_and_never_sold_for(shop: Shop) -> None:
    product = await shop.product(price=1_000, pieces=5)
    database = Database(shop.databases["payment"], pool_size=1)

    async def tamper() -> None:
        order_id = (await shop.order(run)).id
        async with database.autocommit() as connection:
            await connection.execute(
                "UPDATE payments SET amount_received = amount_received - 1 WHERE order_id = %(id)s", id=order_id
            )

    run = await shop.place((product, 1), payment_method=VISA, wait=10)
    shop.hooks.before["check_payment"] = tamper
    await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "PAYMENT_MISMATCH")
    assert await available(shop, product) == (5, 0)
    await database.close()


@pytest.mark.parametrize(("refunded", "status"), [(0, "PAID"), (100, "PARTIALLY_REFUNDED"), (500, "REFUNDED")])
async def test_an_order_that_was_paid_is_not_undone_when_its_workflow_fares_otherwise_the_next_time(
    shop: Shop, refunded: int, status: str
) -> None:
    """As after an operator's reset of a PAID order whose product was withdrawn meanwhile."""

    async def pay_in_an_earlier_life() -> None:
        order = await shop.order(run)
        line = PricedLine(order.items[0].product_id, 1, 500)
        pricing = Pricing(lines=[line], total=500, payment_id=new_id(), payment_deadline=order.created_at)
        for mark, priced in (
            (Mark(order_id=order.id, cause_id="earlier:pending", to_status=OrderStatus.PENDING), pricing),
            (Mark(order_id=order.id, cause_id="earlier:closed", to_status=OrderStatus.PAID), None),
        ):
            await shop.orders.mark(mark, priced)
        if refunded:
            await shop.apply_refund(order.id, refunded)

    placed = asyncio.Event()

    async def earlier() -> None:
        await placed.wait()
        await pay_in_an_earlier_life()

    shop.hooks.before["quote"] = earlier
    run = await shop.place((new_id(), 1))
    placed.set()

    assert await ending(shop, run) == (status, None)
    assert shop.hooks.calls == ["read_order"]
