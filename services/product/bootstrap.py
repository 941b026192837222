"""Wires the product service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.due_worker import DueWorker
from runtime.health import Checks
from runtime.measuring import Measurement
from runtime.on_call import NothingOnCall, OnCall
from runtime.retention import DUE_RULES, DueRule, retention_worker
from runtime.settings import Settings
from services.product.retention import rules
from services.product.service import ProductService
from services.product.tables import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductComponents:
    """What the service is made of.

    Attributes:
        retention: deletes what is old and no history.
        background: what runs beside the server, each until cancelled.
    """

    database: Database
    products: ProductService
    on_call: OnCall
    checks: Checks
    measurements: Sequence[Measurement]
    retention: DueWorker[DueRule]
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
        retention = retention_worker("product", opened, rules(settings))
        yield ProductComponents(
            database=opened,
            products=ProductService(opened),
            on_call=NothingOnCall(),
            checks=Checks(needs={"database": partial(opened.find_problem, schema=SCHEMA)}),
            measurements=database_measurements("product", opened, due={retention.name: DUE_RULES}),
            retention=retention,
            background=[retention.run],
        )
