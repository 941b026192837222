"""Server-sent events of an order, over a real HTTP server in front of the real order service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio

from api.app import create_app
from api.services import open_services
from domain.ids import new_id
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE, CallerRole
from runtime.http_server import http_server
from runtime.settings import Settings
from sandbox.ports import free_port
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up
from tests.support.identities import VERIFIER, bearer, tls_settings
from tests.support.rpc import call


@dataclass(frozen=True, slots=True)
class Door:
    """A gateway that listens, as browsers meet it; set `stopping` for it to stop."""

    http: httpx.AsyncClient
    stopping: asyncio.Event


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: Any) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@asynccontextmanager
async def open_door(gateway: Gateway, **changes: str) -> AsyncIterator[Door]:
    """A listening gateway before the services of the other one, but for the changes."""
    settings = Settings.model_validate({**tls_settings(), **gateway.addresses, **changes})
    port, stopping = free_port(), asyncio.Event()
    async with open_services(settings) as services:
        app = create_app(services, VERIFIER, stopping=stopping)
        async with (
            http_server(app, host="127.0.0.1", port=port, grace=30),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            yield Door(http, stopping)
            stopping.set()


async def place(gateway: Gateway, customer: Mapping[str, str]) -> str:
    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **customer}
    order_id: str = (await gateway.http.post("/v1/orders", json=order_body(), headers=headers)).json()["id"]
    return order_id


async def fail(gateway: Gateway, order_id: str) -> None:
    request = pb.MarkClosedRequest(
        order_id=order_id, cause_id="close", status=pb.ORDER_STATUS_FAILED, reason="OUT_OF_STOCK"
    )
    await call(gateway.services.order.MarkClosed, request, caller=SERVICE, deadline=5)


async def next_event(lines: AsyncIterator[str]) -> dict[str, str]:
    """The fields of the next event; comments and hints are no events."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, colon, value = line.partition(": ")
        if not line and "data" in fields:
            return fields
        if not line or not name:
            fields = {}
        elif colon:
            fields[name] = value
    raise EOFError


async def test_a_stream_has_what_happened_and_then_what_happens(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    order_id = await place(gateway, customer)

    async with (
        open_door(gateway) as door,
        door.http.stream("GET", f"/v1/orders/{order_id}/events", headers=customer) as stream,
    ):
        lines = stream.aiter_lines()
        received = await next_event(lines)
        await fail(gateway, order_id)
        failed = await next_event(lines)
        rest = [line async for line in lines]

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    assert (received["event"], received["id"], json.loads(received["data"])["to"]) == ("transition", "1", "RECEIVED")
    assert json.loads(failed["data"]) | {"at": ""} == {
        "seq": 2,
        "from": "RECEIVED",
        "to": "FAILED",
        "reason": "OUT_OF_STOCK",
        "at": "",
    }
    assert not any(rest)  # no order leaves FAILED


async def test_a_client_that_comes_back_gets_what_it_has_not_and_is_told_when_that_is_all(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    order_id = await place(gateway, customer)
    await fail(gateway, order_id)

    async def read(last: str) -> httpx.Response:
        path = f"/v1/orders/{order_id}/events"
        return await gateway.http.get(path, headers={**customer, "Last-Event-ID": last})

    behind, everything, nonsense = await read("1"), await read("2"), await read("second")

    assert [line for line in behind.text.splitlines() if line.startswith("id")] == ["id: 2"]
    assert (everything.status_code, everything.content) == (204, b"")
    assert nonsense.status_code == 400
    assert nonsense.json()["errors"][0]["field"] == "Last-Event-ID"


async def test_streams_end_when_the_gateway_stops(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    order_id = await place(gateway, customer)

    async with (
        open_door(gateway) as door,
        door.http.stream("GET", f"/v1/orders/{order_id}/events", headers=customer) as stream,
    ):
        lines = stream.aiter_lines()
        await next_event(lines)
        door.stopping.set()
        rest = [line async for line in lines]

    assert not any(rest)


async def test_anothers_stream_answers_like_that_of_no_order(gateway: Gateway) -> None:
    _, owner = await sign_up(gateway)
    order_id, missing_id = await place(gateway, owner), new_id()
    stranger = bearer(CallerRole.CUSTOMER)

    others = await gateway.http.get(f"/v1/orders/{order_id}/events", headers=stranger)
    missing = await gateway.http.get(f"/v1/orders/{missing_id}/events", headers=stranger)

    assert others.status_code == missing.status_code == 404
    assert others.text.replace(order_id, missing_id) == missing.text
