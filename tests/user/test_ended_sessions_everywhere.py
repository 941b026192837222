"""A session that has ended, at the doors of parts that run as in production: the user service itself, and another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio
from pydantic import SecretStr

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.product.v1 import product_pb2
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1 import user_pb2
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime import ended_sessions
from runtime.caller import ANONYMOUS, Caller, CallerRole
from runtime.identity import Part
from runtime.process import ComponentRunner, Lifecycle
from runtime.refusal import CallRefused
from runtime.rpc_client import call, open_channel
from runtime.settings import Settings
from sandbox.ports import address, free_port
from services.product import server as product
from services.user import server as user
from tests.support.identities import PRIVATE_PEM, credentials, tls_settings

DEADLINE = 20.0
PASSWORD = "correct horse"


@asynccontextmanager
async def running(part: ComponentRunner, settings: Settings) -> AsyncIterator[None]:
    lifecycle = Lifecycle(asyncio.Event())
    task = asyncio.ensure_future(part(settings, lifecycle))
    started = asyncio.create_task(lifecycle.started.wait())
    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    try:
        yield
    finally:
        lifecycle.stopping.set()
        await task


@pytest_asyncio.fixture
async def doors(
    databases: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[UserServiceStub, ProductServiceStub]]:
    """The two parts, which ask for ended sessions all the time, as the gateway calls them."""
    monkeypatch.setattr(ended_sessions, "INTERVAL", 0.05)
    users, products = address(free_port()), address(free_port())
    settings = Settings.model_validate(
        {
            **tls_settings(),
            "user_listen": users,
            "user_address": users,
            "product_listen": products,
            "user_dsn": SecretStr(databases["user"]),
            "product_dsn": SecretStr(databases["product"]),
            "jwt_private_key": PRIVATE_PEM,
            "password_hash_memory": 1_024,
            "shutdown_grace": 1,
        }
    )
    us = credentials(Part.GATEWAY)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(user.run, settings))
        await stack.enter_async_context(running(product.run, settings))
        yield (
            UserServiceStub(await stack.enter_async_context(open_channel(Part.USER, users, us))),
            ProductServiceStub(await stack.enter_async_context(open_channel(Part.PRODUCT, products, us))),
        )


async def until_refused(look: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            await look()
            await asyncio.sleep(0.02)  # the part is told by another one


async def test_a_token_is_refused_everywhere_soon_after_its_session_has_ended(
    doors: tuple[UserServiceStub, ProductServiceStub],
) -> None:
    users, products = doors
    email = f"user-{new_id()}@example.test"
    sign_up = user_pb2.RegisterUserRequest(email=email, password=PASSWORD, name="Ada")
    await call(users.RegisterUser, sign_up, caller=ANONYMOUS, deadline=DEADLINE)
    log_in = user_pb2.AuthenticateUserRequest(email=email, password=PASSWORD)
    answer = await call(users.AuthenticateUser, log_in, caller=ANONYMOUS, deadline=DEADLINE)
    caller = Caller(CallerRole.CUSTOMER, answer.user.id, answer.access_token)

    async def look_at_oneself() -> None:
        request = user_pb2.GetUserRequest(user_id=caller.id)
        await call(users.GetUser, request, caller=caller, deadline=DEADLINE)

    async def look_at_products() -> None:
        request = product_pb2.ListProductsRequest(page_size=1)
        await call(products.ListProducts, request, caller=caller, deadline=DEADLINE)

    await look_at_oneself()
    await look_at_products()

    log_out = user_pb2.RevokeTokenRequest(refresh_token=answer.refresh_token)
    await call(users.RevokeToken, log_out, caller=ANONYMOUS, deadline=DEADLINE)

    for look in (look_at_oneself, look_at_products):
        with pytest.raises(CallRefused, match="the session of this token has ended") as caught:
            await until_refused(look)
        assert caught.value.refusal is Refusal.UNAUTHENTICATED
