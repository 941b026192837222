"""The load: customers who place orders with a good card over HTTP, and wait until Kafka says PAID."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.watch import OrderWatch
from domain.ids import new_id

ADDRESS = {"name": "Bench", "line1": "1 Street", "city": "Town", "postal_code": "12345", "country": "DE"}


class LoadError(Exception):
    """An order was not accepted, or did not end PAID."""


@dataclass(slots=True)
class Load:
    """What was measured, in seconds."""

    orders: list[str] = field(default_factory=list)
    accept: list[float] = field(default_factory=list)
    end_to_end: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    retried: int = 0
    """Requests that were answered 503, or not at all, and sent again with the same key, as a shop would."""

    @property
    def rate(self) -> float:
        """PAID orders per second."""
        return len(self.orders) / self.elapsed


class Customers:
    """Places orders of one unit each, over customers and products in turn.

    Attributes:
        tokens: of the customers.
        products: their ids.
    """

    def __init__(
        self, gateway: httpx.AsyncClient, *, tokens: Sequence[str], products: Sequence[str], watch: OrderWatch
    ) -> None:
        self._gateway = gateway
        self.tokens = tokens
        self.products = products
        self._watch = watch
        self._placed = 0

    async def closed_loop(self, *, count: int, concurrency: int) -> Load:
        """So many orders, so many under way at once."""
        load = Load()
        left = iter(range(count))

        async def shop() -> None:
            for _ in left:
                await self._order(load)

        began = time.monotonic()
        await asyncio.gather(*(shop() for _ in range(concurrency)))
        load.elapsed = time.monotonic() - began
        return load

    async def open_loop(self, *, rate: float, seconds: float) -> Load:
        """Orders at a steady rate, whether or not earlier ones are done."""
        load = Load()
        began = time.monotonic()
        under_way: list[asyncio.Task[None]] = []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            under_way.append(asyncio.create_task(self._order(load)))
        await asyncio.gather(*under_way)
        load.elapsed = time.monotonic() - began
        return load

    async def _order(self, load: Load) -> None:
        product = self.products[self._placed % len(self.products)]
        token = self.tokens[self._placed % len(self.tokens)]
        self._placed += 1
        body = {
            "lines": [{"product_id": product, "quantity": 1}],
            "currency": "EUR",
            "shipping_address": ADDRESS,
            "payment_method": "pm_card_visa",
        }
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": new_id()}
        began = time.monotonic()
        response = await self._place(body, headers, load)
        answered = time.monotonic()
        if response.status_code not in (201, 202):
            raise LoadError(f"an order was answered {response.status_code}: {response.text}")
        order_id = response.json()["id"]
        how, seen = await self._watch.closed(order_id)
        if how != "order.paid":
            raise LoadError(f"order {order_id} ended with {how}")
        load.orders.append(order_id)
        load.accept.append(answered - began)
        load.end_to_end.append(seen - began)

    async def _place(self, body: dict[str, Any], headers: dict[str, str], load: Load) -> httpx.Response:
        """Send an order until it is answered: the key makes it one order."""
        while True:
            try:
                response = await self._gateway.post("/v1/orders", json=body, headers=headers)
            except httpx.TransportError:  # an idle connection that was closed while the request was on its way
                load.retried += 1
                continue
            if response.status_code != 503:
                return response
            load.retried += 1
            await asyncio.sleep(float(response.headers["Retry-After"]))
