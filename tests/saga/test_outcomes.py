"""Every way an order can end, in the time-skipping environment, on real services."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
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
    product = await shop.product(price=1_250, units=10)
    run = await shop.place((product, 2), payment_method=VISA, wait=10)
    await shop.deliver_events()

    assert await ending(shop, run) == ("PAID", None)
    assert (await shop.order(run)).total == 2_500
    assert await available(shop, product) == (8, 0)
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("payment_method", [None, DECLINED])
async def test_a_free_order_is_paid_without_a_payment_at_stripe(shop: Shop, payment_method: str | None) -> None:
    product = await shop.product(price=0, units=10)
    run = await shop.place((product, 2), payment_method=payment_method, wait=10)

    assert await ending(shop, run) == ("PAID", None)
    order = await shop.order(run)
    assert (order.total, [step.to_status for step in order.transitions]) == (0, ["RECEIVED", "PENDING", "PAID"])
    assert await available(shop, product) == (8, 0)
    assert (await shop.payments.check(order.id, refresh=True)).intent_id is None
    assert await shop.disagreements(run) == []


async def test_a_free_order_whose_stock_was_lost_owes_nothing(shop: Shop) -> None:
    product = await shop.product(price=0, units=10)

    async def lose() -> None:
        await shop.inventory.release(shop.hooks.calls[-1][0].removeprefix("order-"))

    shop.hooks.after["mark_pending"] = lose
    run = await shop.place((product, 2))

    assert await ending(shop, run) == ("FAILED", "STOCK_LOST")
    assert await available(shop, product) == (10, 0)
    assert await shop.disagreements(run) == []


async def test_an_order_keeps_names_and_prices_as_they_were_and_the_carts_order(shop: Shop) -> None:
    plate, mug, cup = [await shop.product(name=name) for name in ("Plate", "Mug", "Cup")]
    cart = [(cup, 1), (plate, 2), (mug, 1)]
    run = await shop.place(*cart, payment_method=VISA, wait=10)
    await shop.rename(mug, "Beaker")
    await shop.set_price(mug, 1)
    await shop.products.delete(cup, expected_versions=())
    await shop.deliver_events()

    assert await ending(shop, run) == ("PAID", None)
    assert [(item.product_id, item.name, item.unit_price) for item in (await shop.order(run)).items] == [
        (cup, "Cup", 1_000),
        (plate, "Plate", 1_000),
        (mug, "Mug", 1_000),
    ]
    assert await shop.disagreements(run) == []


async def timers(run: Run) -> list[timedelta]:
    """How long the saga meant to wait, each time that it did."""
    events = (await run.fetch_history()).events
    return [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        for event in events
        if event.HasField("timer_started_event_attributes")
    ]


async def test_an_order_is_paid_by_re_reading_when_no_event_comes_for_five_seconds(shop: Shop) -> None:
    product = await shop.product()
    run = await shop.place((product, 1), payment_method=VISA, wait=10)

    assert await ending(shop, run) == ("PAID", None)
    assert await timers(run) == [timedelta(seconds=5)]
    assert await shop.disagreements(run) == []


async def test_an_event_that_comes_is_what_a_paid_order_waits_for(shop: Shop) -> None:
    product = await shop.product()
    run = await shop.place((product, 1), payment_method=VISA, wait=10)
    assert (await shop.order(run)).status == "PENDING"

    await shop.deliver_events()

    assert await ending(shop, run) == ("PAID", None)
    fired = [e for e in (await run.fetch_history()).events if e.HasField("timer_fired_event_attributes")]
    assert fired == []


async def test_a_declined_customer_may_pay_with_another_card(shop: Shop) -> None:
    product = await shop.product()
    run = await shop.place((product, 1), payment_method=DECLINED, wait=10)
    assert (await shop.order(run)).status == "PENDING"

    assert await shop.pay(run, VISA)
    await shop.deliver_events()

    assert await ending(shop, run) == ("PAID", None)
    assert await shop.disagreements(run) == []


async def test_three_declined_charges_fail_the_order_and_free_its_stock(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 3), payment_method=DECLINED, wait=10)
    for _ in range(2):
        assert not await shop.pay(run, DECLINED)
        await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "PAYMENT_DECLINED")
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_a_second_line_out_of_stock_frees_the_first(shop: Shop) -> None:
    plenty, scarce = await shop.product(units=10), await shop.product(units=1)
    run = await shop.place((plenty, 4), (scarce, 2), payment_method=VISA)

    assert await ending(shop, run) == ("FAILED", "OUT_OF_STOCK")
    assert await available(shop, plenty) == (10, 0)
    assert await shop.disagreements(run) == []


async def test_an_unknown_product_fails_the_order(shop: Shop) -> None:
    run = await shop.place((new_id(), 1))

    assert await ending(shop, run) == ("FAILED", "PRODUCT_NOT_FOUND")


async def test_an_order_that_nobody_pays_fails_at_its_deadline_and_frees_its_stock(shop: Shop) -> None:
    product = await shop.product(units=3)
    run = await shop.place((product, 2), payment_window_seconds=3_600)

    assert await ending(shop, run) == ("FAILED", "PAYMENT_TIMEOUT")
    assert await available(shop, product) == (3, 0)
    assert await shop.disagreements(run) == []


async def test_of_two_customers_one_gets_the_last_unit(shop: Shop) -> None:
    product = await shop.product(units=1)
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
    product = await shop.product(price=1_000, units=5)
    run = await shop.place((product, 1), **changes)

    assert await ending(shop, run) == ("FAILED", reason)
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_an_amount_below_stripes_minimum_is_refused_before_stock_is_reserved(shop: Shop) -> None:
    product = await shop.product(price=1, units=5)
    run = await shop.place((product, 1))

    assert await ending(shop, run) == ("FAILED", "PAYMENT_REJECTED")
    assert "reserve" not in shop.steps_of(run)


async def test_an_intent_cancelled_at_stripe_fails_the_order(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 1), wait=10)
    payment = await shop.payments.check((await shop.order(run)).id, refresh=False)
    await shop.stripe.v1.payment_intents.cancel_async(payment.intent_id or "")
    await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "PAYMENT_CANCELLED")
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def test_stock_lost_after_the_payment_gives_the_money_back(shop: Shop) -> None:
    product = await shop.product(units=5)
    run = await shop.place((product, 1), payment_method=VISA, wait=10)
    await shop.inventory.release((await shop.order(run)).id)
    await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "STOCK_LOST")
    assert await available(shop, product) == (5, 0)
    assert await shop.disagreements(run) == []


async def tamper(shop: Shop, run: Run, change: str) -> None:
    """Change the stored payment of the order, behind the back of the service that wrote it."""
    order_id = (await shop.order(run)).id
    database = Database(shop.databases["payment"], pool_size=1)
    async with database.autocommit() as connection:
        await connection.execute(
            f"UPDATE payments SET {change} WHERE order_id = %(id)s",  # noqa: S608  # of this file
            id=order_id,
        )
    await database.close()
    shop.payment.store._known.forget(order_id)


@pytest.mark.parametrize("change", ["amount_received = amount_received - 1", "currency_received = 'USD'"])
async def test_another_amount_or_currency_is_refunded_and_nothing_sold_for_it(shop: Shop, change: str) -> None:
    product = await shop.product(price=1_000, units=5)
    run = await shop.place((product, 1), payment_method=VISA, wait=10)
    shop.hooks.before["check_payment"] = partial(tamper, shop, run, change)
    await shop.deliver_events()

    assert await ending(shop, run) == ("FAILED", "PAYMENT_MISMATCH")
    assert await available(shop, product) == (5, 0)


@pytest.mark.parametrize(("refunded", "status"), [(0, "PAID"), (100, "PARTIALLY_REFUNDED"), (500, "REFUNDED")])
async def test_an_order_that_was_paid_is_not_undone_when_its_workflow_takes_another_course(
    shop: Shop, refunded: int, status: str
) -> None:
    """As after an operator's reset of a PAID order whose product was withdrawn meanwhile."""

    async def pay_in_an_earlier_run() -> None:
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
        await pay_in_an_earlier_run()

    shop.hooks.before["quote"] = earlier
    run = await shop.place((new_id(), 1))
    placed.set()

    assert await ending(shop, run) == (status, None)
    assert shop.steps_of(run) == ["read_order"]
