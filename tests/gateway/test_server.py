"""The gateway as a part of a process: it listens, says what keeps it from that, and ends what it began."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest

from api.server import run
from runtime.process import Lifecycle
from runtime.settings import Settings, SettingsError
from sandbox.ports import free_port
from tests.support.gateway import NOWHERE
from tests.support.identities import tls_settings


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


def settings(port: int, *, service: str = NOWHERE) -> Settings:
    services = ("user", "product", "inventory", "order", "payment", "notification")
    addresses = {f"{name}_address": service for name in services}
    return Settings.model_validate({"gateway_port": port, "grpc_deadline": 1, **tls_settings(), **addresses})


async def test_it_serves_until_it_is_stopped() -> None:
    port = free_port()
    lifecycle = Lifecycle(asyncio.Event())
    running = asyncio.create_task(run(settings(port), lifecycle))
    await lifecycle.started.wait()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/v1/products")).status_code == 503

        lifecycle.stopping.set()
        await running

        with pytest.raises(httpx.ConnectError):
            await http.get("/v1/products")


async def test_a_request_under_way_is_answered_before_the_stop(listener: socket.socket) -> None:
    port = free_port()
    lifecycle = Lifecycle(asyncio.Event())
    silent = f"127.0.0.1:{listener.getsockname()[1]}"
    running = asyncio.create_task(run(settings(port, service=silent), lifecycle))
    await lifecycle.started.wait()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        asking = asyncio.create_task(http.get("/v1/products"))
        connection, _ = await asyncio.to_thread(listener.accept)

        lifecycle.stopping.set()

        assert (await asking).status_code == 503
    await running
    connection.close()


async def test_a_taken_port_is_named_with_its_setting(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(SettingsError, match=rf"ORDERSAGA_GATEWAY_PORT: cannot listen on 127\.0\.0\.1:{port}: "):
        await run(settings(port), Lifecycle(asyncio.Event()))


async def test_without_the_public_keys_it_does_not_start() -> None:
    keyless = Settings.model_validate({**tls_settings(), "jwt_public_keys": None})

    with pytest.raises(SettingsError, match="ORDERSAGA_JWT_PUBLIC_KEYS"):
        await run(keyless, Lifecycle(asyncio.Event()))
