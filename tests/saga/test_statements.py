"""What one paid order costs each service in its database, to the statement: whoever adds one sees it here.

An order by card, whose payment Stripe reports by webhook. BEGIN, COMMIT and the relay's statements are not among these.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import OrderLine
from runtime.caller import SERVICE
from runtime.statement_counts import StatementCounts
from services.order.customer_limits import CustomerLimits
from services.order.model import NewOrder
from services.order.repository import _LINE
from services.payment.payments.repository import DUE_FOLLOW_UPS
from tests.support.background import running
from tests.support.payment_harness import sign
from tests.support.saga_shop import ADDRESS, Shop

LIMITS: Final = CustomerLimits(orders=10, units=100)
POLLS: Final = {*(table._claim for table in DUE_FOLLOW_UPS.values()), _LINE}
"""What runs by the clock: order or not, or ten times a second at most, however many orders come."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a service ran for the order."""

    statements: Mapping[str, int]
    """How often each, by its beginning."""
    transactions: int

    @property
    def total(self) -> int:
        return sum(self.statements.values())


async def place_and_pay(shop: Shop, product: str) -> str:
    """An order whose last mark is done; Stripe's event comes once it is PENDING."""
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    shop.hooks.after["mark"] = close
    before = {event.id for event in (await shop.stripe.v1.events.list_async({"limit": 100})).data}
    new = NewOrder(
        user_id=new_id(),
        lines=[OrderLine(product, 1)],
        currency="EUR",
        shipping_address=ADDRESS,
        payment_method="pm_card_visa",
        expected_total=None,
        payment_window_seconds=900,
    )
    created = await shop.orders.create(new, idempotency_key=new_id(), wait=10, limits=LIMITS)
    assert created.order.status == "PENDING"
    for event in (await shop.stripe.v1.events.list_async({"limit": 100})).data:
        if event.id not in before and event.type == "payment_intent.succeeded":
            body = json.dumps(event.to_dict(for_json=True)).encode()
            await shop.payment.webhooks.receive(body=body, signature=sign(body))
    async with asyncio.timeout(20):
        await closed.wait()
        while shop.payment.inbox.in_progress:  # noqa: ASYNC110  # nobody is told when it has recorded what it did
            await asyncio.sleep(0.01)
    return created.order.id


def cost_since(statements: Counter[str], transactions: int, now: StatementCounts) -> Cost:
    """What was run since then, but for what runs by the clock."""
    run = now.statements - statements
    polls = sum(run.pop(poll, 0) for poll in POLLS)
    return Cost(
        statements={" ".join(text.split())[:100]: count for text, count in run.items()},
        transactions=now.transactions - transactions - polls,
    )


@pytest_asyncio.fixture
async def costs(disposable_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Cost]:
    """By service, of the second order of a shop: the first look at what is due comes before that."""
    shop = disposable_shop
    monkeypatch.setattr(shop.payment.inbox, "_poll", 60.0)  # so that whoever looks was woken
    async with running(shop.payment.inbox.run):
        product = await shop.product()
        await place_and_pay(shop, product)
        before = {service: (Counter(counts.statements), counts.transactions) for service, counts in shop.counts.items()}
        order_id = await place_and_pay(shop, product)
        costs = {service: cost_since(*before[service], counts) for service, counts in shop.counts.items()}
    assert (await shop.orders.get(order_id, caller=SERVICE)).status == "PAID"
    return costs


async def test_a_paid_order_takes_so_many_statements_and_transactions(costs: Mapping[str, Cost]) -> None:
    assert {service: (cost.total, cost.transactions) for service, cost in costs.items()} == {
        "product": (1, 1),
        "inventory": (2, 2),
        "order": (6, 4),
        "payment": (5, 5),
    }, "\n".join(f"{service}: {text}: {n}" for service, cost in costs.items() for text, n in cost.statements.items())
