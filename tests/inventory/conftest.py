"""The inventory service on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from pydantic import SecretStr

from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from runtime.database import Database
from runtime.settings import Settings
from services.inventory.bootstrap import InventoryComponents, bootstrap
from services.inventory.server import grpc_service
from services.inventory.service import InventoryService
from tests.support.rpc import channel_to


@pytest.fixture(scope="module")
def settings(databases: Mapping[str, str]) -> Settings:
    return Settings(inventory_dsn=SecretStr(databases["inventory"]))


@pytest_asyncio.fixture(scope="module")
async def components(settings: Settings) -> AsyncIterator[InventoryComponents]:
    async with bootstrap(settings) as components:
        yield components


@pytest.fixture(scope="module")
def database(components: InventoryComponents) -> Database:
    return components.database


@pytest.fixture(scope="module")
def inventory(components: InventoryComponents) -> InventoryService:
    return components.inventory


@pytest_asyncio.fixture(scope="module")
async def stub(components: InventoryComponents) -> AsyncIterator[InventoryServiceStub]:
    """The service over gRPC."""
    async with channel_to(grpc_service(components)) as channel:
        yield InventoryServiceStub(channel)
