"""The user service on a real PostgreSQL, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from pydantic import SecretStr

from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.database import Database
from runtime.settings import Settings
from services.user.bootstrap import UserComponents, bootstrap
from services.user.server import grpc_service
from services.user.service import UserService
from tests.support.identities import PRIVATE_PEM, tls_settings
from tests.support.rpc import channel_to


@pytest.fixture(scope="module")
def settings(databases: Mapping[str, str]) -> Settings:
    return Settings(
        **tls_settings(),
        user_dsn=SecretStr(databases["user"]),
        jwt_private_key=SecretStr(PRIVATE_PEM),
        access_token_ttl=60,
        password_hash_memory=1_024,  # hundreds of hashes are made here
    )


@pytest_asyncio.fixture(scope="module")
async def components(settings: Settings) -> AsyncIterator[UserComponents]:
    async with bootstrap(settings) as components:
        yield components


@pytest.fixture(scope="module")
def database(components: UserComponents) -> Database:
    return components.database


@pytest.fixture(scope="module")
def service(components: UserComponents) -> UserService:
    return components.users


@pytest_asyncio.fixture(scope="module")
async def stub(components: UserComponents) -> AsyncIterator[UserServiceStub]:
    async with channel_to(grpc_service(components)) as channel:
        yield UserServiceStub(channel)
