"""Somebody floods the shop from one address; a customer at another one is served nearly as fast as ever (G1, G2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from domain.ids import new_id
from domain.rate_limits import DEFAULT_RATES, Limit
from tests.chaos.conftest import Chaos
from tests.support.client import PASSWORD, Customer, order_of
from tests.support.flood import Outcome, Request, flooding

pytestmark = [pytest.mark.more, pytest.mark.long]

RATE: Final = 200
SECONDS: Final = 4
"""Of each of the spells in which it is quiet, and in which it is not."""
SPELLS: Final = 3
FLOODER: Final = {"x-forwarded-for": "203.0.113.66"}
CUSTOMERS: Final = 15
PAUSE: Final = 0.1
"""Seconds between two visits: however fast the machine is, nobody asks for more than a customer may."""
CUSTOMER: Final = {"x-forwarded-for": "198.51.100.7"}


@pytest.fixture(scope="module")
def limits() -> Mapping[str, str]:
    """The limits of a shop, and a proxy in front of it that says who asks."""
    return {
        "ORDERSAGA_RATE_LIMITS": json.dumps({Limit.ORDERS: str(DEFAULT_RATES[Limit.ORDERS])}),
        "ORDERSAGA_TRUSTED_PROXIES": '["127.0.0.0/8"]',
    }


@dataclass(slots=True)
class Shopper:
    """Visits the shop: looks around, orders, pays by the order, looks at it."""

    http: httpx.AsyncClient
    customers: list[Customer]
    """Who orders, in turn: nobody orders as fast as a test does."""
    product_id: str
    requests: int = 0
    failed: list[str] = field(default_factory=list)

    async def visit_for(self, seconds: float) -> list[float]:
        """Seconds that each visit took, one after the other for so long."""
        visits: list[float] = []
        customers, ends = cycle(self.customers), time.perf_counter() + seconds
        while time.perf_counter() < ends:
            visits.append(await self._visit(next(customers)))
            await asyncio.sleep(PAUSE)
        return visits

    async def _visit(self, customer: Customer) -> float:
        headers = {**CUSTOMER, **customer.token}
        ordering = {**headers, "Idempotency-Key": new_id(), "Prefer": "wait=20"}
        body = {**order_of(self.product_id, quantity=1), "payment_method": "pm_card_visa"}
        began = time.perf_counter()
        await self._ask("GET", "/v1/products", headers=CUSTOMER)
        await self._ask("GET", f"/v1/products/{self.product_id}", headers=CUSTOMER)
        order = await self._ask("POST", "/v1/orders", headers=ordering, json=body)
        await self._ask("GET", f"/v1/orders/{order.json().get('id')}", headers=headers)
        await self._ask("GET", "/v1/orders", headers=headers)
        return time.perf_counter() - began

    async def _ask(self, method: str, path: str, **parts: Any) -> httpx.Response:
        answer = await self.http.request(method, path, **parts)
        self.requests += 1
        if not answer.is_success:
            self.failed.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer


def attack(flooder: Customer, product_id: str) -> list[Request]:
    """Logins with guessed passwords, of one account and of many, and orders of an account that the flooder has."""
    one, many = (
        Request(path="/v1/auth/token", headers=FLOODER, body=json.dumps({"email": email, "password": "{key} guess"}))
        for email in (flooder.email, "somebody-{key}@example.test")
    )
    order = Request(
        path="/v1/orders",
        headers={**FLOODER, "authorization": flooder.token["Authorization"], "idempotency-key": "flood-{key}"},
        body=json.dumps(order_of(product_id, quantity=1)),
    )
    return [one, order, many, order]


async def test_a_customer_is_served_beside_a_flood(
    chaos: Chaos, record_property: Callable[[str, object], None]
) -> None:
    client = chaos.client
    product_id = await client.add_product(units=100_000)
    flooder, *customers = [await client.sign_up() for _ in range(1 + CUSTOMERS)]
    shopper = Shopper(client.gateway, customers, product_id)
    port = urlsplit(client.stack.endpoints.gateway).port
    assert port is not None
    await shopper.visit_for(2)  # everything has been loaded

    quiet: list[float] = []
    beside: list[float] = []
    outcomes: list[Outcome] = []
    for _ in range(SPELLS):
        quiet += await shopper.visit_for(SECONDS)
        async with flooding(port, attack(flooder, product_id), rate=RATE, seconds=SECONDS) as flood:
            beside += await shopper.visit_for(SECONDS - 0.5)
        outcomes.append(flood.outcome)
    again = await client.gateway.post(
        "/v1/auth/token", json={"email": customers[0].email, "password": PASSWORD}, headers=CUSTOMER
    )

    ratio = median(beside) / median(quiet)
    times = f"{1_000 * median(quiet):.0f} and {1_000 * median(beside):.0f} ms, ratio {ratio:.2f}"
    record_property("figure", f"flood: {len(quiet)} and {len(beside)} visits, {times}; {outcomes}")
    assert shopper.failed == []
    assert again.status_code == 200
    for outcome in outcomes:
        assert outcome.sent >= 0.95 * RATE * SECONDS
        assert outcome.unexplained == 0
        assert outcome.statuses.keys() <= {"200", "201", "202", "401", "409", "429"}
        assert outcome.statuses["429"] > 0.8 * outcome.sent
    assert ratio < 2
