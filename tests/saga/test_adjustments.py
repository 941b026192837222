"""Orders with shipping and discounts, from their price to their money, in the time-skipping environment."""

from __future__ import annotations

from typing import Any

import pytest

from domain.orders import AdjustmentType, OrderStatus, PriceAdjustment
from services.payment.refunds.errors import RefundExceedsPayment
from tests.support.saga_refunds import VISA, Run, order_becomes, payment_of, request_refund
from tests.support.saga_shop import Shop

PRICE = 1_000


def shipping(amount: int) -> PriceAdjustment:
    return PriceAdjustment(AdjustmentType.SHIPPING, "Parcel", amount)


def discount(amount: int) -> PriceAdjustment:
    return PriceAdjustment(AdjustmentType.DISCOUNT, "Welcome", amount)


async def place(shop: Shop, *adjustments: PriceAdjustment, **changes: Any) -> Run:
    """An order of two for 10.00 EUR each."""
    product = await shop.product(price=PRICE, units=5)
    return await shop.place(
        (product, 2), adjustments=list(adjustments), on_behalf=True, payment_method=VISA, wait=10, **changes
    )


@pytest.mark.parametrize(
    ("adjustments", "total"),
    [
        ((shipping(490),), 2_490),
        ((discount(500),), 1_500),
        ((shipping(490), discount(500), discount(90)), 1_900),
        ((shipping(490), discount(2_400)), 90),
    ],
)
async def test_the_customer_pays_the_lines_with_shipping_less_discounts(
    shop: Shop, adjustments: tuple[PriceAdjustment, ...], total: int
) -> None:
    run = await place(shop, *adjustments, expected_total=total)
    await shop.deliver_events()

    result = await shop.result(run)
    payment, order = await payment_of(shop, run), await shop.order(run)

    assert (result.status, result.reason) == (OrderStatus.PAID, None)
    assert (payment.amount, payment.amount_received, order.total) == (total, total, total)
    assert order.adjustments == list(adjustments)
    assert await shop.disagreements(run) == []


async def test_a_discount_of_all_of_it_makes_it_free(shop: Shop) -> None:
    run = await place(shop, shipping(490), discount(2_490), expected_total=0)

    result = await shop.result(run)

    assert result.status is OrderStatus.PAID
    assert ((await shop.order(run)).total, (await payment_of(shop, run)).intent_id) == (0, None)
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize(
    ("adjustments", "changes", "reason"),
    [
        ((shipping(490), discount(2_491)), {}, "DISCOUNT_TOO_LARGE"),
        ((discount(2_001),), {"expected_total": 0}, "DISCOUNT_TOO_LARGE"),
        ((shipping(490),), {"expected_total": 2_000}, "PRICE_CHANGED"),
        ((shipping(10**15),), {}, "PAYMENT_REJECTED"),
        ((discount(1_990),), {}, "PAYMENT_REJECTED"),
    ],
    ids=["too large", "too large, whatever was expected", "not as expected", "above the most", "below Stripe's least"],
)
async def test_a_total_that_cannot_be_is_refused_before_anything_is_held(
    shop: Shop, adjustments: tuple[PriceAdjustment, ...], changes: dict[str, Any], reason: str
) -> None:
    run = await place(shop, *adjustments, **changes)

    result = await shop.result(run)

    assert (result.status, result.reason) == (OrderStatus.FAILED, reason)
    assert "reserve" not in shop.steps_of(run)
    assert await shop.disagreements(run) == []


async def test_a_refund_gives_back_what_was_paid_and_no_more(shop: Shop) -> None:
    run = await place(shop, shipping(490), discount(1_000))
    await shop.deliver_events()
    await order_becomes(shop, run, "PAID")

    with pytest.raises(RefundExceedsPayment):
        await request_refund(shop, run, 1_491)
    await request_refund(shop, run)
    await order_becomes(shop, run, "REFUNDED")

    assert (await shop.order(run)).refunded == 1_490
    assert await shop.disagreements(run) == []
