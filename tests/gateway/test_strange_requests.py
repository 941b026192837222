"""Requests that no client of ours would send get a problem, and none of them counts as our defect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import httpx
import pytest
from structlog.testing import capture_logs

from api.app import create_app
from api.services import Services
from domain.ids import new_id
from runtime.caller import CallerRole
from tests.support.gateway import gateway_without_services
from tests.support.identities import VERIFIER, bearer

HOSTS = ["x:abc", "[::1", "x:99999999", ""]


async def ask(path: str, **headers: str) -> tuple[httpx.Response, list[str]]:
    """The answer, and what was logged as an error."""
    with capture_logs() as logs:
        async with gateway_without_services() as gateway:
            response = await gateway.http.get(path, headers=headers)
    return response, [entry["event"] for entry in logs if entry["log_level"] == "error"]


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_that_is_none_changes_no_answer(host: str) -> None:
    response, errors = await ask("/nowhere", Host=host)

    assert (response.status_code, errors) == (404, [])
    assert response.json()["instance"] == "/nowhere"


@pytest.mark.parametrize("name", ["a" * 256, "a" * 5_000, "nothing.css"])
async def test_an_asset_that_cannot_be_is_not_found(name: str) -> None:
    response, errors = await ask(f"/docs/assets/{name}")

    assert (response.status_code, errors) == (404, [])
    assert response.json()["type"] == "urn:ordersaga:problem:not-found"


async def test_an_upload_that_breaks_off_is_the_clients_affair() -> None:
    app = create_app(cast("Services", None), VERIFIER)
    arrived: list[dict[str, Any]] = [{"type": "http.request", "body": b'{"lines"', "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return arrived.pop(0) if arrived else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with capture_logs() as logs:
        await app(cast("Any", _scope("/v1/orders", new_order_headers())), cast("Any", receive), cast("Any", send))

    assert [message["status"] for message in sent if "status" in message] == [400]
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


def new_order_headers() -> Sequence[tuple[bytes, bytes]]:
    headers = {
        "host": "gateway.test",
        "content-type": "application/json",
        "content-length": "1000",
        "idempotency-key": new_id(),
        "authorization": bearer(CallerRole.CUSTOMER)["Authorization"],
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _scope(path: str, headers: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }
