"""The product service on a real PostgreSQL, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from pydantic import SecretStr

from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from runtime.database import Database
from runtime.settings import Settings
from services.product.bootstrap import ProductComponents, bootstrap
from services.product.server import grpc_service
from tests.support.rpc import channel_to


@pytest_asyncio.fixture(scope="module")
async def components(databases: Mapping[str, str]) -> AsyncIterator[ProductComponents]:
    settings = Settings(product_dsn=SecretStr(databases["product"]), database_pool_size=4)
    async with bootstrap(settings) as components:
        yield components


@pytest.fixture(scope="module")
def database(components: ProductComponents) -> Database:
    return components.database


@pytest_asyncio.fixture(scope="module")
async def stub(components: ProductComponents) -> AsyncIterator[ProductServiceStub]:
    async with channel_to(grpc_service(components)) as channel:
        yield ProductServiceStub(channel)
