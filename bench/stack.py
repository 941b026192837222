"""The embedded stack as the bench loads it: who buys what there, and which of its processes do the work."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from bench.load import Customers
from bench.watch import OrderWatch
from cli.demo.shop import Shop
from sandbox.endpoints import Endpoints

CONCURRENCIES: Final = (20, 40, 80)
_PRODUCTS: Final = 100
_CUSTOMERS: Final = 20
"""So many that none has more unpaid orders at a time than a customer may."""
_UNITS: Final = 1_000_000
_TOKEN_LIFE: Final = 86_400
"""Longer than any run, seconds."""


def processes_of(endpoints: Endpoints) -> dict[str, int]:
    """The processes of a stack whose CPU time is counted, by what they are."""
    processes = endpoints.processes
    return {
        "services": processes["gateway"],
        "order worker": processes["order-worker"],
        "temporal": processes["temporal"],
        "postgres": processes["postgres"],
        "kafka": processes["kafka"],
        "doubles": processes["stripe-double"],
    }


def let_tokens_last() -> None:
    """Have the stacks that are started from now on give tokens for a whole run: customers log in once."""
    os.environ["ORDERSAGA_ACCESS_TOKEN_TTL"] = str(_TOKEN_LIFE)


@asynccontextmanager
async def open_customers(
    endpoints: Endpoints, watch: OrderWatch, *, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Customers]:
    """Customers of a shop that has plenty of everything; a transport may spread their orders over several gateways."""
    async with Shop(endpoints) as shop:
        products = [
            await shop.add_product(f"Product {number}", price=1_000, units=_UNITS) for number in range(_PRODUCTS)
        ]
        customers = [await shop.add_customer(f"bench-customer-{number}") for number in range(_CUSTOMERS)]
    limits = httpx.Limits(max_connections=max(CONCURRENCIES))
    async with httpx.AsyncClient(base_url=endpoints.gateway, timeout=60, limits=limits, transport=transport) as gateway:
        yield Customers(
            gateway,
            tokens=[customer.token for customer in customers],
            products=[product.id for product in products],
            watch=watch,
        )
