"""What the demo tries. Each scenario has customers and products of its own, so all can run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cli.demo.model import NO_MONEY, Customer, Line, Money, PlacedOrder, Product
from cli.demo.shop import DemoError, Refused, Shop
from domain.ids import new_id

VISA: Final = "pm_card_visa"
DECLINED: Final = "pm_card_chargeDeclined"
DISPUTED: Final = "pm_card_createDispute"


@dataclass(frozen=True, slots=True, kw_only=True)
class StockChange:
    """What could be ordered of a product before and after."""

    product: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one order."""

    promise: Promise
    order: PlacedOrder
    stock: list[StockChange]
    money: Money
    mails: list[str]
    workflow_ids: list[str]
    """The order's own first, then those of its refunds and disputes."""

    @property
    def slug(self) -> str:
        """The scenario and how it ended, as a file name."""
        return f"{self.promise.scenario} {self.order.status}".lower().replace(",", "").replace(" ", "-")

    @property
    def is_expected(self) -> bool:
        """Whether status, reason, stock and money are what the scenario promises."""
        ends = (self.order.status, self.order.reason)
        available = [change.after for change in self.stock]
        return (ends, available, self.money) == (self.promise.ends, self.promise.available, self.promise.money)


Scenario = Callable[[Shop], Awaitable[Sequence[Outcome]]]


class Watch:
    """The stock of some products from before a scenario on."""

    def __init__(self, shop: Shop, products: Sequence[Product], before: Sequence[int]) -> None:
        self._shop, self._products, self._before = shop, products, before

    @classmethod
    async def begin(cls, shop: Shop, *products: Product) -> Watch:
        return cls(shop, products, [await shop.get_available(product) for product in products])

    async def end(self) -> list[StockChange]:
        return [
            StockChange(product=product.name, before=before, after=await self._shop.get_available(product))
            for product, before in zip(self._products, self._before, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How a scenario has to end: its order's status and reason, what is available of its products, and the money."""

    scenario: str
    tried: str
    ends: tuple[str, str | None]
    available: list[int]
    money: Money = NO_MONEY

    async def outcome(self, shop: Shop, customer: Customer, placed: PlacedOrder, watch: Watch) -> Outcome:
        """Wait for the order's end and for its mails: one for each transition but the first."""
        order = await shop.wait_until_closed(customer, placed.id)
        stock = await watch.end()
        return Outcome(
            promise=self,
            order=order,
            stock=stock,
            money=await shop.get_money(order),
            mails=await shop.wait_for_mails(customer, len(order.transitions) - 1),
            workflow_ids=await shop.get_workflow_ids(order),
        )


async def paid_at_once(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="paid at once",
        tried="a good card came with the order of 2 mugs",
        ends=("PAID", None),
        available=[8],
        money=Money(received=2_500),
    )
    product = await shop.add_product("Coffee mug", price=1_250, units=10)
    customer = await shop.add_customer("prompt-payer")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=2)], payment_method=VISA)
    return [await promise.outcome(shop, customer, placed, watch)]


async def declined_then_paid(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="declined, then paid with another card",
        tried="the first card was declined, the second one was good",
        ends=("PAID", None),
        available=[4],
        money=Money(received=3_900),
    )
    product = await shop.add_product("Tea pot", price=3_900, units=5)
    customer = await shop.add_customer("second-card")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=1)], payment_method=DECLINED)
    if not await shop.pay(placed, VISA):
        raise DemoError("the good card was declined")
    return [await promise.outcome(shop, customer, placed, watch)]


async def declined_three_times(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="declined three times",
        tried="three declined charges, one with the order and two after it",
        ends=("FAILED", "PAYMENT_DECLINED"),
        available=[5],
    )
    product = await shop.add_product("Sugar bowl", price=1_800, units=5)
    customer = await shop.add_customer("three-bad-cards")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=3)], payment_method=DECLINED)
    for _ in range(2):
        if await shop.pay(placed, DECLINED):
            raise DemoError("the bad card was accepted")
    return [await promise.outcome(shop, customer, placed, watch)]


async def out_of_stock_on_the_second_line(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="out of stock on the second line",
        tried="4 plates and 2 tureens, of which there is 1",
        ends=("FAILED", "OUT_OF_STOCK"),
        available=[10, 1],
    )
    first = await shop.add_product("Breakfast plate", price=900, units=10)
    second = await shop.add_product("Soup tureen", price=7_500, units=1)
    customer = await shop.add_customer("wants-two-tureens")
    watch = await Watch.begin(shop, first, second)
    lines = [Line(product_id=first.id, quantity=4), Line(product_id=second.id, quantity=2)]
    placed = await shop.order(customer, lines, payment_method=VISA)
    return [await promise.outcome(shop, customer, placed, watch)]


async def unknown_product(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="unknown product",
        tried="a product id that nobody sells",
        ends=("FAILED", "PRODUCT_NOT_FOUND"),
        available=[],
    )
    customer = await shop.add_customer("wrong-link")
    watch = await Watch.begin(shop)
    placed = await shop.order(customer, [Line(product_id=new_id(), quantity=1)], payment_method=VISA)
    return [await promise.outcome(shop, customer, placed, watch)]


async def nobody_pays(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="nobody pays",
        tried="no payment within the 3 seconds that this order gives",
        ends=("FAILED", "PAYMENT_TIMEOUT"),
        available=[3],
    )
    product = await shop.add_product("Cake stand", price=4_200, units=3)
    customer = await shop.add_customer("changed-their-mind")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=2)], window=3)
    return [await promise.outcome(shop, customer, placed, watch)]


async def cancelled(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="cancelled by its customer",
        tried="the customer cancelled while the order waited for the payment",
        ends=("CANCELLED", "CUSTOMER"),
        available=[6],
    )
    product = await shop.add_product("Bread board", price=2_700, units=6)
    customer = await shop.add_customer("changed-my-mind")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=3)])
    await shop.cancel(customer, placed)
    return [await promise.outcome(shop, customer, placed, watch)]


async def two_customers_one_last_unit(shop: Shop) -> Sequence[Outcome]:
    product = await shop.add_product("Signed print", price=12_000, units=1)
    customers = [await shop.add_customer(f"collector-{number}") for number in (1, 2)]
    watch = await Watch.begin(shop, product)
    line = Line(product_id=product.id, quantity=1)
    placed = await asyncio.gather(*(shop.order(customer, [line], payment_method=VISA) for customer in customers))
    closed = [
        await shop.wait_until_closed(customer, order.id) for customer, order in zip(customers, placed, strict=True)
    ]
    winner = next((order.id for order in closed if order.status == "PAID"), None)
    return [
        await Promise(
            scenario="two customers, one last unit",
            tried=f"customer {number} of 2 who order the last print at the same moment",
            ends=("PAID", None) if order.id == winner else ("FAILED", "OUT_OF_STOCK"),
            available=[0],
            money=Money(received=12_000 if order.id == winner else 0),
        ).outcome(shop, customer, order, watch)
        for number, customer, order in zip((1, 2), customers, closed, strict=True)
    ]


async def partly_refunded(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="partly refunded",
        tried="an admin gave the money of 1 of 3 lamps back, and put it back into stock",
        ends=("PARTIALLY_REFUNDED", None),
        available=[8],
        money=Money(received=6_000, refunded=2_000),
    )
    product = await shop.add_product("Reading lamp", price=2_000, units=10)
    customer = await shop.add_customer("sends-one-back")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=3)], payment_method=VISA)
    await shop.wait_until_closed(customer, placed.id)
    await shop.refund(placed, amount=2_000, restock=[Line(product_id=product.id, quantity=1)])
    return [await promise.outcome(shop, customer, placed, watch)]


async def disputed(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="disputed, then refunded",
        tried="the customer went to their bank; no refund while the bank decides, all of it after the shop has won",
        ends=("REFUNDED", None),
        available=[3],
        money=Money(received=5_500, refunded=5_500),
    )
    product = await shop.add_product("Wall clock", price=5_500, units=4)
    customer = await shop.add_customer("asks-the-bank")
    watch = await Watch.begin(shop, product)
    placed = await shop.order(customer, [Line(product_id=product.id, quantity=1)], payment_method=DISPUTED)
    paid = await shop.wait_until_closed(customer, placed.id)
    dispute_id = await shop.wait_for_dispute(paid, "NEEDS_RESPONSE")
    try:
        await shop.refund(paid)
    except Refused as refused:
        if refused.name != "payment-disputed":
            raise DemoError(f"the refund was refused otherwise: {refused}") from refused
    else:
        raise DemoError("a disputed payment was refunded")
    await shop.decide_dispute(paid, dispute_id, status="won")
    await shop.refund(paid)
    return [await promise.outcome(shop, customer, placed, watch)]


async def webhooks_doubled_and_reordered(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="webhooks doubled and reordered",
        tried="Stripe sent each event of a declined and a good card three times, late and in any order",
        ends=("PAID", None),
        available=[6],
        money=Money(received=6_400),
    )
    product = await shop.add_product("Egg cup", price=800, units=14)
    customer = await shop.add_customer("hard-to-reach")
    watch = await Watch.begin(shop, product)
    async with shop.stripe_troubled(webhook={"duplicate": 3, "shuffle": True, "delay_ms": [0, 800]}):
        placed = await shop.order(customer, [Line(product_id=product.id, quantity=8)], payment_method=DECLINED)
        if not await shop.pay(placed, VISA):
            raise DemoError("the good card was declined")
        return [await promise.outcome(shop, customer, placed, watch)]


async def money_comes_late(shop: Shop) -> Sequence[Outcome]:
    promise = Promise(
        scenario="money comes too late",
        tried="the customer cancelled while Stripe took its time to charge the card",
        ends=("CANCELLED", "CUSTOMER"),
        available=[5],
        money=Money(received=3_300, refunded=3_300),
    )
    product = await shop.add_product("Oil lamp", price=3_300, units=5)
    customer = await shop.add_customer("too-quick-for-the-bank")
    watch = await Watch.begin(shop, product)
    async with shop.stripe_troubled(api={"delay_ms": [5_000, 5_000], "operations": ["payment_intents.confirm"]}):
        placed = await shop.order(customer, [Line(product_id=product.id, quantity=1)], payment_method=VISA, wait=0)
        cancelled = await shop.cancel(customer, placed)
    await shop.wait_for_money(cancelled, promise.money)
    return [await promise.outcome(shop, customer, placed, watch)]


SCENARIOS: Final[Sequence[Scenario]] = (
    paid_at_once,
    declined_then_paid,
    declined_three_times,
    out_of_stock_on_the_second_line,
    unknown_product,
    nobody_pays,
    cancelled,
    two_customers_one_last_unit,
    partly_refunded,
    disputed,
)
TROUBLED: Final[Sequence[Scenario]] = (webhooks_doubled_and_reordered, money_comes_late)
"""Faults of Stripe would trouble every other scenario too, so these run one after the other."""
