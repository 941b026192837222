"""What processes show to Prometheus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from domain.ids import new_id
from tests.support.client import until
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up
from tests.support.series import Samples, grew, samples


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def read() -> Samples:
    return samples()


def http(method: str, route: str, status: str) -> Mapping[str, str]:
    return {"http_request_method": method, "http_route": route, "http_response_status_code": status}


async def test_fault_10_requests_calls_and_orders_are_counted(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    before = await read()

    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **customer}
    placed = await gateway.http.post("/v1/orders", json=order_body(), headers=headers)
    await gateway.http.get(f"/v1/orders/{placed.json()['id']}", headers=customer)
    await gateway.http.get(f"/v1/orders/{new_id()}", headers=customer)
    service = "/ordersaga.order.v1.OrderService"
    calls, requests = "rpc_server_call_duration_seconds_count", "http_server_request_duration_seconds_count"

    def are_counted(read: Samples) -> bool:
        last_call = grew(before, read, calls, rpc_method=f"{service}/GetOrder", rpc_response_status_code="NOT_FOUND")
        last_request = grew(before, read, requests, **http("GET", "/v1/orders/{order_id}", "404"))
        return bool(last_call and last_request)

    after = await until(read, are_counted)  # what a call took is known only when its answer is out

    assert grew(before, after, requests, **http("POST", "/v1/orders", "202")) == 1
    assert grew(before, after, requests, **http("GET", "/v1/orders/{order_id}", "200")) == 1
    assert grew(before, after, requests, **http("GET", "/v1/orders/{order_id}", "404")) == 1
    assert grew(before, after, calls, rpc_method=f"{service}/CreateOrder", rpc_response_status_code="OK") == 1
    assert grew(before, after, calls, rpc_method=f"{service}/GetOrder", rpc_response_status_code="NOT_FOUND") == 1
    assert grew(before, after, "ordersaga_order_transitions_total", status="RECEIVED") == 1
