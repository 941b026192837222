"""``make bench-bulkhead``: what orders that need no Stripe take while others wait for a slow one, and while none do.

Three kinds are timed, one order after the other: free ones to PAID; ones whose stock is short to FAILED, everything
undone; and card orders whose money came in while Stripe was quick, from the arrival of its event to PAID.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from bench.load import ADDRESS
from bench.watch import OrderWatch
from cli.demo.model import Customer, Line
from cli.demo.shop import Shop
from cli.exiting import CommandFailed, run_and_exit
from domain.ids import new_id
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

VISA: Final = "pm_card_visa"
_AT_ONCE: Final = 20
"""Orders that are placed at a time."""
_CALM: Final = 10.0
"""Seconds before anything is timed, for the orders that wait to have come as far as they get."""
_EVENT_DELAY: Final = 20.0
"""Seconds from a payment to its event, for the orders of which only the event is missing when Stripe gets slow."""


@dataclass(frozen=True, slots=True)
class Products:
    """What is bought."""

    card: str
    free: str
    scarce: str


class BulkheadBench:
    """One run against one stack."""

    def __init__(
        self,
        gateway: httpx.AsyncClient,
        stripe: httpx.AsyncClient,
        customers: Sequence[Customer],
        products: Products,
        watch: OrderWatch,
    ) -> None:
        self._gateway = gateway
        self._stripe = stripe
        self._customers = customers
        self._products = products
        self._watch = watch
        self._placed = 0

    async def measure(self, *, count: int, waiting: int, delay: float) -> Mapping[str, Sequence[float]]:
        """Seconds of each kind of order, with so many others waiting for a Stripe that takes `delay` seconds a call."""
        await self._switch(webhook={"delay_ms": [int(_EVENT_DELAY * 1_000)] * 2})
        paid = [(await self._place(self._products.card, payment_method=VISA), time.monotonic()) for _ in range(count)]
        await self._switch(**({"api": {"delay_ms": [int(delay * 1_000)] * 2}} if delay else {}))
        turn = asyncio.Semaphore(_AT_ONCE)

        async def wait_for_stripe() -> None:
            async with turn:
                await self._place(self._products.card, wait=0)

        placing = asyncio.gather(*(wait_for_stripe() for _ in range(waiting)))
        commits = [await self._seconds(order_id, "order.paid", at + _EVENT_DELAY) for order_id, at in paid]
        await placing
        await asyncio.sleep(_CALM)
        free = [await self._timed("order.paid", self._products.free) for _ in range(count)]
        refused = [await self._timed("order.failed", self._products.free, self._products.scarce) for _ in range(count)]
        await self._switch()
        return {"free, to PAID": free, "stock short, to FAILED": refused, "paid: from the event to PAID": commits}

    async def _timed(self, event: str, *products: str) -> float:
        began = time.monotonic()
        return await self._seconds(await self._place(*products), event, began)

    async def _seconds(self, order_id: str, event: str, since: float) -> float:
        how, at = await self._watch.closed(order_id)
        if how != event:
            raise CommandFailed(f"order {order_id} ended with {how}, not with {event}")
        return at - since

    async def _place(self, *products: str, payment_method: str | None = None, wait: int = 20) -> str:
        self._placed += 1
        customer = self._customers[self._placed % len(self._customers)]
        body = {
            "lines": [{"product_id": product, "quantity": 1} for product in products],
            "currency": "EUR",
            "shipping_address": ADDRESS,
            **({} if payment_method is None else {"payment_method": payment_method}),
        }
        headers = {
            "Authorization": f"Bearer {customer.token}",
            "Idempotency-Key": new_id(),
            "Prefer": f"wait={wait}",
        }
        while True:
            response = await self._gateway.post("/v1/orders", json=body, headers=headers)
            if response.status_code != 503:
                break
            await asyncio.sleep(float(response.headers["Retry-After"]))
        if response.status_code not in (201, 202):
            raise CommandFailed(f"an order was answered {response.status_code}: {response.text}")
        return str(response.json()["id"])

    async def _switch(self, **faults: Any) -> None:
        (await self._stripe.post("/_sandbox/faults", json=faults)).raise_for_status()


async def run(console: Console, *, count: int, waiting: int, delay: float, var: Path) -> None:
    """Measure on a fresh stack, and print the ratios.

    Raises:
        CommandFailed: an order ended otherwise than it should.
        SignalledError: Ctrl-C, or SIGTERM; everything is stopped.
    """
    shutil.rmtree(var, ignore_errors=True)
    os.environ |= {
        "ORDERSAGA_MAX_OPEN_ORDERS": str(waiting + count),
        "ORDERSAGA_PAYMENT_EVENT_TIMEOUT": "600",
        "ORDERSAGA_STRIPE_SWEEP_INTERVAL": "3600",  # else it brings events before their time
    }
    with interrupted_by_signals():
        async with (
            Stack(var=var, ports=Ports.free()) as stack,
            OrderWatch(stack.endpoints.kafka) as watch,
            Shop(stack.endpoints) as shop,
            httpx.AsyncClient(base_url=stack.endpoints.gateway, timeout=60) as gateway,
            httpx.AsyncClient(base_url=stack.endpoints.stripe, timeout=60) as stripe,
        ):
            products = Products(
                card=(await shop.add_product("Card", price=1_000, units=waiting + 10 * count)).id,
                free=(await shop.add_product("Free", price=0, units=10 * count)).id,
                scarce=(await shop.add_product("Scarce", price=0, units=1)).id,
            )
            customers = [await shop.add_customer(f"bulkhead-customer-{number}") for number in range(5)]
            await shop.order(customers[0], [Line(product_id=products.scarce, quantity=1)])  # the last one
            bench = BulkheadBench(gateway, stripe, customers, products, watch)
            console.print("warming up")
            await bench.measure(count=2, waiting=0, delay=0)
            console.print("nobody waits")
            quiet = await bench.measure(count=count, waiting=0, delay=0)
            console.print(f"{waiting} orders wait for Stripe")
            slow = await bench.measure(count=count, waiting=waiting, delay=delay)
    table = Table("median seconds", "quiet", f"{waiting} orders wait, {delay:g} s a call", "ratio")
    for kind, seconds in quiet.items():
        before, after = median(seconds), median(slow[kind])
        table.add_row(kind, f"{before:.3f}", f"{after:.3f}", f"{after / before:.2f}")
    console.print(table)


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(prog="make bench-bulkhead", description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="orders of each kind (default 30)")
    parser.add_argument("--waiting", type=int, default=200, help="card orders that wait for Stripe (default 200)")
    parser.add_argument("--delay", type=float, default=10, help="seconds of each call of Stripe (default 10)")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-bulkhead"), help="folder of the stack, emptied first"
    )
    given = parser.parse_args()
    console = Console(highlight=False)
    asyncio.run(run(console, count=given.count, waiting=given.waiting, delay=given.delay, var=given.var.absolute()))


if __name__ == "__main__":
    run_and_exit(main)
