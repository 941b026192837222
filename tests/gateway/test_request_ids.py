"""Each request has an id and a trace: the client's own if they will do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
import httpx
import pytest
import pytest_asyncio
from litestar.types import Receive, Scope, Send
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from api.tracing import traced
from domain.ids import is_id, new_id
from tests.support.gateway import Gateway, gateway_with_services, sign_up
from tests.support.recorded_spans import id_of, parent_of, recording, trace_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def test_an_answer_has_the_id_that_its_client_gave(gateway: Gateway) -> None:
    answer = await gateway.http.get("/v1/orders", headers={"X-Request-Id": "shop-17:a4.b_c"})

    assert (answer.status_code, answer.headers["x-request-id"]) == (401, "shop-17:a4.b_c")


@pytest.mark.parametrize(
    "given", ["", " ", "x" * 129, "two words", "ada@example.test", 'a","level":"info', "ä", "a\tb", "-rm"]
)
async def test_an_id_that_could_garble_a_log_is_replaced(gateway: Gateway, given: str) -> None:
    answer = await gateway.http.get("/v1/orders", headers={b"X-Request-Id": given.encode()})

    assert is_id(answer.headers["x-request-id"])


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("DELETE", "/v1/orders"), ("GET", "/openapi.json")])
async def test_an_answer_from_nowhere_has_an_id_too(gateway: Gateway, method: str, path: str) -> None:
    first, second = [await gateway.http.request(method, path) for _ in range(2)]

    assert is_id(first.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def client_server_pairs(spans: Sequence[ReadableSpan]) -> list[tuple[str, str]]:
    """Each span of a server, with the name of the client's span that it is in."""
    by_id = {id_of(span): span for span in spans}
    return [
        (span.name, by_id[parent_of(span)].name)
        for span in spans
        if span.kind is SpanKind.SERVER and parent_of(span) in by_id
    ]


async def test_a_request_and_the_calls_that_it_makes_are_one_trace(gateway: Gateway) -> None:
    _, token = await sign_up(gateway)
    order_id = new_id()

    method = "ordersaga.order.v1.OrderService/GetOrder"
    with recording() as spans:
        answer = await gateway.http.get(f"/v1/orders/{order_id}", headers=token)
        await spans.until_ended(method, SpanKind.SERVER)

    assert answer.status_code == 404
    request = spans.named("GET /v1/orders/{order_id}")
    assert client_server_pairs(spans.all()) == [(method, method)]
    assert {trace_of(span) for span in spans.all()} == {trace_of(request)}
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/orders/{order_id}",
        "http.response.status_code": 404,
        "url.path": f"/v1/orders/{order_id}",
        "url.scheme": "http",
        "ordersaga.order.id": order_id,
    }
    [server] = [span for span in spans.all() if (span.name, span.kind) == (method, SpanKind.SERVER)]
    assert server.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.response.status_code": grpc.StatusCode.NOT_FOUND.name,
        "ordersaga.order.id": order_id,
    }


async def test_a_request_goes_on_with_the_trace_of_its_client(gateway: Gateway) -> None:
    with recording() as spans:
        await gateway.http.get("/v1/orders", headers={"traceparent": PARENT})

    assert (trace_of(spans.named("GET /v1/orders")), parent_of(spans.named("GET /v1/orders"))) == tuple(
        PARENT.split("-")[1:3]
    )
    assert spans.named("GET /v1/orders").links == ()


async def test_where_strangers_come_a_request_is_a_trace_of_its_own_that_is_linked_with_theirs() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    guarded = httpx.ASGITransport(traced(app, joins_clients=False))  # type: ignore[arg-type]  # Litestar's own types
    with recording() as spans:
        async with httpx.AsyncClient(transport=guarded, base_url="http://gateway.test") as http:
            await http.get("/", headers={"traceparent": PARENT})

    [request] = spans.all()
    [link] = request.links
    assert (parent_of(request), f"{link.context.trace_id:032x}") == ("", PARENT.split("-")[1])
    assert trace_of(request) != PARENT.split("-")[1]
