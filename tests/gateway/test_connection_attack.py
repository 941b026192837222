"""A gateway with few file descriptors, and strangers who use up more: whoever asks for something is answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from sandbox.ports import free_port
from tests.support.busy_machine import slowdown
from tests.support.client import until
from tests.support.gateway import NOWHERE
from tests.support.raw_http import connected
from tests.support.served_part import ServedPart, served

DESCRIPTORS = 256
ATTACKERS = 350
HALVES = {
    "nothing": b"",
    "half a head": b"GET /v1/products HTTP/1.1\r\nhost: x\r\n",
    "half a body": b"POST /v1/auth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b'content-length: 100\r\n\r\n{"email"',
    "half a body of a request that is refused": b"POST /v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPart]:
    services = ("user", "product", "inventory", "order", "payment", "notification")
    settings = {"gateway_port": port, **{f"{service}_address": NOWHERE for service in services}}
    folder: Path = tmp_path_factory.mktemp("gateway")
    with served("gateway", folder, settings, descriptors=DESCRIPTORS) as part:
        part.until(lambda: part.readiness()[0] == 200)
        yield part


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
async def test_half_sent_requests_keep_nobody_out(gateway: ServedPart, port: int, half: bytes) -> None:
    async with AsyncExitStack() as attack:
        for _ in range(ATTACKERS):
            await attack.enter_async_context(connected(port, half))

        for _ in range(20):
            async with httpx.AsyncClient(timeout=30 * slowdown()) as honest:
                assert (await honest.get(f"http://127.0.0.1:{port}/nowhere")).status_code == 404
            await attack.enter_async_context(connected(port, half))
        assert gateway.is_alive()
    assert 'ordersaga_http_rejected_total{reason="evicted"}' in gateway.metrics()


async def test_connections_that_come_and_go_leave_nothing_behind(gateway: ServedPart, port: int) -> None:
    folder = Path(f"/proc/{gateway.process.pid}/fd")
    for half in HALVES.values():
        async with AsyncExitStack() as attack:
            for _ in range(ATTACKERS):
                await attack.enter_async_context(connected(port, half))

    async def in_use() -> int:
        return len(list(folder.iterdir()))

    await until(in_use, lambda number: number < DESCRIPTORS // 4)


def test_it_says_that_it_has_few_descriptors(gateway: ServedPart) -> None:
    assert "http.few_descriptors" in gateway.log.read_text()
