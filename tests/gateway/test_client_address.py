"""Whose request it is, as limits and the log are told."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.client_address import NOBODY, addressed, subscriber_of
from runtime.client_address import TrustedProxies
from runtime.http_server import http_server
from runtime.work_context import add_to_line, client
from sandbox.ports import free_port

PROXIES = TrustedProxies([ip_network("127.0.0.0/8")])


class Told:
    """An application that answers with whom it takes for its client, and what the log says."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        scope.setdefault("state", {})
        line = add_to_line(None, "info", {"event": "request"})
        body = f"{subscriber_of(scope)} {line.get('client', '')}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def told(*, peer: tuple[str, int] | None, proxies: TrustedProxies = PROXIES, **headers: str) -> str:
    client.set("")
    app: Any = addressed(Told(), proxies)
    transport = httpx.ASGITransport(app, client=peer or ("", 0))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
        return (await http.get("/", headers={name.replace("_", "-"): value for name, value in headers.items()})).text


async def test_limits_know_the_address_and_the_log_its_network() -> None:
    behind_a_proxy = await told(peer=("127.0.0.1", 1), x_forwarded_for="198.51.100.1, 203.0.113.7")

    assert behind_a_proxy == "203.0.113.7 203.0.113.0/24"
    assert await told(peer=("2001:db8:1:2:3::4", 1)) == "2001:db8:1:2::/64 2001:db8:1::/48"


async def test_whoever_is_no_proxy_of_ours_is_not_believed() -> None:
    assert await told(peer=("203.0.113.7", 1), x_forwarded_for="198.51.100.1") == "203.0.113.7 203.0.113.0/24"


async def test_a_proxy_that_no_setting_names_is_said_once() -> None:
    app: Any = addressed(Told(), TrustedProxies())
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as http:
            for _ in range(3):
                await http.get("/", headers={"X-Forwarded-For": "203.0.113.7"})

    assert [line["event"] for line in logs] == ["gateway.no_trusted_proxies"]
    assert logs[0]["peer"] == "127.0.0.0/24"
    assert logs[0]["setting"] == "ORDERSAGA_TRUSTED_PROXIES"


@pytest.mark.parametrize("peer", [None, ("/run/socket", 0)])
async def test_who_has_no_address_is_nobody_in_particular(peer: tuple[str, int] | None) -> None:
    assert await told(peer=peer) == f"{NOBODY} "


async def test_the_server_believes_no_header_by_itself() -> None:
    port = free_port()
    app: Any = addressed(Told(), TrustedProxies())
    async with http_server(app, host="127.0.0.1", port=port, grace=1), httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-For": "203.0.113.7"})

    assert answer.text == "127.0.0.1 127.0.0.0/24"
