"""The order service on its database, and where it matters a Temporal server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from temporalio.client import Client

from runtime.database import Database
from sandbox.ports import Ports, address
from sandbox.temporal import Temporal
from sandbox.temporal_config import TemporalConfig
from tests.support.order_shop import OrderShop, open_order_shop

AT_ONCE = 16
"""Connections: enough for everybody who comes at once."""


@pytest_asyncio.fixture
async def shop(databases: Mapping[str, str]) -> AsyncIterator[OrderShop]:
    """The service; its sagas do nothing, unless a test says what."""
    async with open_order_shop(databases["order"], pool_size=AT_ONCE) as shop:
        yield shop


@pytest_asyncio.fixture
async def empty_shop(databases: Mapping[str, str]) -> AsyncIterator[OrderShop]:
    """The same, without an order of another test, so that nothing is due but what the test leaves undone."""
    database = Database(databases["order"], pool_size=AT_ONCE)
    async with database.autocommit() as connection:
        await connection.execute("TRUNCATE orders, concerns, actions CASCADE")
    async with open_order_shop(databases["order"], database=database) as shop:
        yield shop
    await database.close()


@pytest_asyncio.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A Temporal server that lists its workflows, as the time-skipping one does not; nobody works for it."""
    folder, ports = tmp_path_factory.mktemp("temporal"), Ports.free()
    server = Temporal(
        config=TemporalConfig.load(),
        database=folder / "temporal.db",
        port=ports.temporal,
        ui_port=ports.temporal_ui,
        log=folder / "temporal.log",
    )
    await server.start()
    yield await Client.connect(address(ports.temporal))
    await server.stop()
