"""Wires the product service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.health import Checks
from runtime.idempotency import pruning
from runtime.measuring import Measurement
from runtime.on_call import NothingOnCall, OnCall
from runtime.settings import Settings
from services.product.service import ProductService
from services.product.tables import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductComponents:
    """What the service is made of."""

    database: Database
    products: ProductService
    on_call: OnCall
    checks: Checks
    measurements: Sequence[Measurement]
    background: Sequence[Callable[[], Awaitable[object]]]


@asynccontextmanager
async def bootstrap(settings: Settings, *, database: Database | None = None) -> AsyncIterator[ProductComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.

    Raises:
        SettingsError: a setting is missing.
    """
    async with open_database(settings, "product", given=database) as opened:
        yield ProductComponents(
            database=opened,
            products=ProductService(opened),
            on_call=NothingOnCall(),
            checks=Checks(needs={"database": partial(opened.find_problem, schema=SCHEMA)}),
            measurements=database_measurements("product", opened),
            background=[pruning(opened)],
        )
