"""Server-sent events of orders, over real HTTP servers in front of the real order service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.order_streams import OrderStreams
from api.services import open_services
from api.stream_room import StreamLimits, StreamRoom
from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.caller import Caller, CallerRole
from runtime.http_limits import INTERNAL_LIMITS
from runtime.http_server import http_server
from runtime.settings import Settings, SettingsError
from runtime.tokens import ExpiredToken, TokenVerifier
from sandbox.ports import free_port
from services.order.server import grpc_service
from tests.support.gateway import NOWHERE
from tests.support.identities import PUBLIC_KEYS, VERIFIER, bearer, tls_settings
from tests.support.order_shop import OrderShop, new_order, open_order_shop
from tests.support.raw_http import RawClient, connected
from tests.support.rpc import serving

SERVICES: Final = ("user", "product", "inventory", "order", "payment", "notification")


@dataclass(frozen=True, slots=True)
class Door:
    """A gateway that listens, as browsers meet it."""

    http: httpx.AsyncClient
    app: Any
    port: int
    streams: OrderStreams

    def open(self, order_id: str, headers: Mapping[str, str], *, last: str = "") -> Any:
        headers = {**headers, **({"Last-Event-ID": last} if last else {})}
        return self.http.stream("GET", f"/v1/orders/{order_id}/events", headers=headers)


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody with an order that has just come in."""

    order_id: str
    headers: Mapping[str, str]


class ExpiringVerifier(TokenVerifier):
    """One for which it is later than any token lives, once a test says so."""

    is_late = False

    def verify(self, token: str) -> Caller:
        if self.is_late:
            raise ExpiredToken("the token has expired")
        return super().verify(token)


@pytest_asyncio.fixture(scope="module")
async def shop(databases: Mapping[str, str]) -> AsyncIterator[OrderShop]:
    async with open_order_shop(databases["order"]) as shop:
        yield shop


@pytest_asyncio.fixture(scope="module")
async def address(shop: OrderShop) -> AsyncIterator[str]:
    async with serving(grpc_service(shop.components)) as address:
        yield address


@asynccontextmanager
async def open_door(
    order_address: str,
    *,
    heartbeat: float = 60,
    streams: int = 500,
    per_account: int = 20,
    verifier: TokenVerifier = VERIFIER,
) -> AsyncIterator[Door]:
    """A listening gateway before the order service at this address."""
    addresses = {**{f"{service}_address": NOWHERE for service in SERVICES}, "order_address": order_address}
    settings, port = Settings.model_validate({**tls_settings(), **addresses}), free_port()
    async with open_services(settings) as services:
        room = StreamRoom(StreamLimits(streams=streams, per_account=per_account))
        opened = OrderStreams(services, verifier, room, heartbeat=heartbeat)
        app = create_app(services, VERIFIER, streams=opened)
        limits = replace(INTERNAL_LIMITS, connections=1_000)
        async with (
            http_server(app, host="127.0.0.1", port=port, grace=30, limits=limits),
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, limits=httpx.Limits(max_connections=None)
            ) as http,
        ):
            yield Door(http, app, port, opened)
            opened.end()


@pytest_asyncio.fixture
async def door(address: str) -> AsyncIterator[Door]:
    async with open_door(address) as door:
        yield door


async def place(shop: OrderShop) -> Customer:
    user_id = new_id()
    return Customer(await shop.received(new_order(user_id=user_id)), bearer(CallerRole.CUSTOMER, user_id))


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


async def rest_of(lines: AsyncIterator[str]) -> list[str]:
    """What comes until the stream's end, but for comments."""
    return [line async for line in lines if line.strip(": ")]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.005)


def is_free(door: Door) -> bool:
    return door.streams.room.taken == door.streams.moves.followed == 0


async def test_a_stream_has_what_happened_and_then_what_happens(shop: OrderShop, door: Door) -> None:
    customer = await place(shop)

    async with door.open(customer.order_id, customer.headers) as stream:
        lines = stream.aiter_lines()
        received = await next_event(lines)
        await shop.close(customer.order_id, OrderStatus.FAILED, reason="OUT_OF_STOCK")
        failed = await next_event(lines)
        rest = await rest_of(lines)

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
    assert rest == []  # no order leaves FAILED
    await until(lambda: is_free(door))


async def test_a_sold_order_is_followed_on(shop: OrderShop, door: Door) -> None:
    customer = await place(shop)
    await shop.mark_pending(customer.order_id)

    async with door.open(customer.order_id, customer.headers, last="2") as stream:
        lines = stream.aiter_lines()
        await shop.close(customer.order_id, OrderStatus.PAID)

        assert (await next_event(lines))["id"] == "3"
        assert door.streams.moves.followed == 1


async def test_a_client_that_comes_back_gets_what_it_has_not_and_is_told_when_that_is_all(
    shop: OrderShop, door: Door
) -> None:
    customer = await place(shop)
    await shop.close(customer.order_id, OrderStatus.FAILED)

    async def read(last: str) -> httpx.Response:
        path = f"/v1/orders/{customer.order_id}/events"
        return await door.http.get(path, headers={**customer.headers, "Last-Event-ID": last})

    behind, everything, nonsense, large = [await read(last) for last in ("1", "2", "second", "1234567890")]

    assert [line for line in behind.text.splitlines() if line.startswith("id")] == ["id: 2"]
    assert (everything.status_code, everything.content) == (204, b"")
    for refused in (nonsense, large):
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["field"] == "Last-Event-ID"
    await until(lambda: is_free(door))


async def test_a_number_is_as_good_as_an_id(shop: OrderShop, door: Door) -> None:
    customer = await place(shop)
    order = await shop.order(customer.order_id)

    async with door.open(order.number, customer.headers, last="1") as stream:
        await shop.mark_pending(customer.order_id)

        assert (await next_event(stream.aiter_lines()))["id"] == "2"


async def test_who_comes_back_again_and_again_has_each_event_once(shop: OrderShop, address: str) -> None:
    customer, seen = await place(shop), list[int]()

    async with open_door(address) as one, open_door(address) as another:

        async def follow() -> None:
            while True:
                for door in (one, another):
                    last = str(seen[-1]) if seen else ""
                    async with door.open(customer.order_id, customer.headers, last=last) as stream:
                        if stream.status_code == 204:
                            return
                        try:
                            seen.append(int((await next_event(stream.aiter_lines()))["id"]))
                        except EOFError:
                            return

        following = asyncio.create_task(follow())
        await shop.mark_pending(customer.order_id)
        await shop.close(customer.order_id, OrderStatus.CANCELLED)
        await following

    assert seen == [1, 2, 3]


async def test_every_gateway_tells_its_own_clients(shop: OrderShop, address: str) -> None:
    customer = await place(shop)
    async with AsyncExitStack() as stack:
        doors = [await stack.enter_async_context(open_door(address)) for _ in range(3)]
        streams = [
            await stack.enter_async_context(door.open(customer.order_id, customer.headers))
            for door in doors
            for _ in range(5)
        ]
        bodies = [stream.aiter_lines() for stream in streams]
        await asyncio.gather(*map(next_event, bodies))

        await shop.mark_pending(customer.order_id)
        events = await asyncio.gather(*map(next_event, bodies))

        assert [event["id"] for event in events] == ["2"] * len(bodies)
        assert {door.streams.moves.followed for door in doors} == {1}


async def test_a_hundred_orders_that_move_at_once_are_each_told_to_their_customer(
    shop: OrderShop, address: str
) -> None:
    customers = [await place(shop) for _ in range(100)]
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(open_door(address))

        async def follow(customer: Customer) -> AsyncIterator[str]:
            stream = await stack.enter_async_context(door.open(customer.order_id, customer.headers, last="1"))
            lines: AsyncIterator[str] = stream.aiter_lines()
            return lines

        bodies = [await follow(customer) for customer in customers]
        await asyncio.gather(*(shop.mark_pending(customer.order_id) for customer in customers))

        assert {(await next_event(lines))["id"] for lines in bodies} == {"2"}


async def test_streams_go_on_when_the_order_service_was_away(shop: OrderShop) -> None:
    customer, port = await place(shop), free_port()
    service = grpc_service(shop.components)
    async with AsyncExitStack() as stack:
        async with serving(service, port=port):
            door = await stack.enter_async_context(open_door(f"127.0.0.1:{port}", heartbeat=0.05))
            stream = await stack.enter_async_context(door.open(customer.order_id, customer.headers))
            lines = stream.aiter_lines()
            assert (await next_event(lines))["id"] == "1"
        await shop.mark_pending(customer.order_id)
        assert (await anext(lines)).startswith(":")  # and the stream is still there
        async with serving(service, port=port):
            assert (await next_event(lines))["id"] == "2"
            await shop.close(customer.order_id, OrderStatus.FAILED)
            assert (await next_event(lines))["id"] == "3"


async def test_a_stream_that_waits_says_that_it_works(shop: OrderShop, address: str) -> None:
    customer = await place(shop)
    async with (
        open_door(address, heartbeat=0.01) as door,
        door.open(customer.order_id, customer.headers, last="1") as stream,
    ):
        lines = stream.aiter_lines()
        comments = [await anext(lines) for _ in range(20)]

    assert sum(comment.startswith(":") for comment in comments) > 5
    await until(lambda: is_free(door))


async def test_streams_end_when_the_gateway_stops(shop: OrderShop, address: str) -> None:
    customers = [await place(shop) for _ in range(20)]
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(open_door(address))
        bodies = []
        for customer in customers:
            stream = await stack.enter_async_context(door.open(customer.order_id, customer.headers))
            bodies.append(stream.aiter_lines())
            await next_event(bodies[-1])

        door.streams.end()
        rests = await asyncio.gather(*map(rest_of, bodies))

        assert rests == [[]] * len(customers)
        await until(lambda: is_free(door))


async def test_a_stream_ends_with_its_clients_token(shop: OrderShop, address: str) -> None:
    customer, verifier = await place(shop), ExpiringVerifier(PUBLIC_KEYS)

    async with (
        open_door(address, heartbeat=0.01, verifier=verifier) as door,
        door.open(customer.order_id, customer.headers) as stream,
    ):
        lines = stream.aiter_lines()
        await next_event(lines)
        verifier.is_late = True

        assert await rest_of(lines) == []


async def test_anothers_stream_answers_like_that_of_no_order(shop: OrderShop, door: Door) -> None:
    customer, missing_id = await place(shop), new_id()
    stranger = bearer(CallerRole.CUSTOMER)

    others = await door.http.get(f"/v1/orders/{customer.order_id}/events", headers=stranger)
    missing = await door.http.get(f"/v1/orders/{missing_id}/events", headers=stranger)

    assert others.status_code == missing.status_code == 404
    assert others.text.replace(customer.order_id, missing_id) == missing.text
    assert is_free(door)


async def test_an_account_that_has_its_streams_gets_no_other_until_one_ends(shop: OrderShop, address: str) -> None:
    customer, other = await place(shop), await place(shop)
    async with open_door(address, per_account=2) as door:
        path = f"/v1/orders/{customer.order_id}/events"
        async with door.open(customer.order_id, customer.headers):
            async with door.open(customer.order_id, customer.headers):
                refused = await door.http.get(path, headers=customer.headers)
                async with door.open(other.order_id, other.headers) as others:
                    assert others.status_code == 200
            await until(lambda: door.streams.room.taken == 1)
            async with door.open(customer.order_id, customer.headers) as again:
                assert again.status_code == 200

    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:ordersaga:problem:too-many-streams"
    assert refused.headers["retry-after"] == "1"


async def test_a_gateway_that_has_its_streams_opens_no_other(shop: OrderShop, address: str) -> None:
    customer, other = await place(shop), await place(shop)
    async with open_door(address, streams=1) as door, door.open(customer.order_id, customer.headers):
        refused = await door.http.get(f"/v1/orders/{other.order_id}/events", headers=other.headers)

    assert refused.status_code == 503
    assert "streams" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"


def test_streams_must_leave_connections_for_others() -> None:
    with pytest.raises(SettingsError, match="ORDERSAGA_MAX_STREAMS"):
        StreamLimits.of(Settings.model_validate({"max_streams": 100, "http_connections": 100}))


async def open_raw(door: Door, stack: AsyncExitStack, customer: Customer) -> RawClient:
    """A connection that has asked for a stream."""
    head = "".join(f"{name}: {value}\r\n" for name, value in customer.headers.items())
    request = f"GET /v1/orders/{customer.order_id}/events HTTP/1.1\r\nHost: shop\r\n{head}\r\n"
    return await stack.enter_async_context(connected(door.port, request.encode()))


async def test_clients_that_are_gone_free_what_they_held(shop: OrderShop, door: Door) -> None:
    customers = [await place(shop) for _ in range(20)]
    async with AsyncExitStack() as stack:
        for customer in customers:
            await open_raw(door, stack, customer)
        await until(lambda: door.streams.room.taken == len(customers))

    await until(lambda: is_free(door))


async def test_clients_that_are_gone_before_their_stream_began_hold_nothing(shop: OrderShop, door: Door) -> None:
    customers = [await place(shop) for _ in range(20)]
    for customer in customers:
        async with AsyncExitStack() as stack:
            await open_raw(door, stack, customer)

    async with door.open(customers[0].order_id, customers[0].headers) as stream:  # they came before this one
        await next_event(stream.aiter_lines())
    await until(lambda: is_free(door))


async def test_a_client_that_reads_nothing_holds_up_nobody_and_frees_what_it_held_when_it_is_given_up(
    shop: OrderShop, door: Door
) -> None:
    customer = await place(shop)
    is_full, given_up = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":  # as a connection whose client reads nothing
            is_full.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await given_up.wait()
        return {"type": "http.disconnect"}

    scope: Any = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/v1/orders/{customer.order_id}/events",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in customer.headers.items()],
        "scheme": "http",
    }
    answering = asyncio.create_task(door.app(scope, receive, send))
    await is_full.wait()
    async with door.open(customer.order_id, customer.headers, last="1") as stream:
        await shop.mark_pending(customer.order_id)
        assert (await next_event(stream.aiter_lines()))["id"] == "2"
    await until(lambda: door.streams.room.taken == 1)

    given_up.set()
    await answering

    assert is_free(door)
