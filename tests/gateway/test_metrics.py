"""What processes show to Prometheus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from domain.ids import new_id
from runtime.metrics import render_metrics
from tests.support.client import until
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


def parse(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def read() -> Samples:
    return parse(render_metrics().decode())


def grew(before: Samples, after: Samples, name: str, **labels: str) -> float:
    key = name, frozenset(labels.items())
    return after.get(key, 0) - before.get(key, 0)


async def test_fault_10_requests_calls_and_orders_are_counted(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    before = await read()

    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **customer}
    placed = await gateway.http.post("/v1/orders", json=order_body(), headers=headers)
    await gateway.http.get(f"/v1/orders/{placed.json()['id']}", headers=customer)
    await gateway.http.get(f"/v1/orders/{new_id()}", headers=customer)
    service = "/ordersaga.order.v1.OrderService"
    calls, requests = "ordersaga_rpc_seconds_count", "ordersaga_http_request_seconds_count"

    def are_counted(read: Samples) -> bool:
        last_call = grew(before, read, calls, method=f"{service}/GetOrder", code="NOT_FOUND")
        last_request = grew(before, read, requests, method="GET", route="/v1/orders/{order_id}", status="404")
        return bool(last_call and last_request)

    after = await until(read, are_counted)  # what a call took is known only when its answer is out

    assert grew(before, after, requests, method="POST", route="/v1/orders", status="202") == 1
    assert grew(before, after, requests, method="GET", route="/v1/orders/{order_id}", status="200") == 1
    assert grew(before, after, requests, method="GET", route="/v1/orders/{order_id}", status="404") == 1
    assert grew(before, after, calls, method=f"{service}/CreateOrder", code="OK") == 1
    assert grew(before, after, calls, method=f"{service}/GetOrder", code="NOT_FOUND") == 1
    assert grew(before, after, "ordersaga_order_transitions_total", status="RECEIVED") == 1
