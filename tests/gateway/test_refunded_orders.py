"""Refunded orders over HTTP, and what the order service takes for an update of one; tests mark as the sagas would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from domain.ids import new_id
from ordersaga.common.v1.order_line_pb2 import PricedLine
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up
from tests.support.rpc import call

TOTAL = 2_500


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def place(gateway: Gateway, customer: dict[str, str]) -> dict[str, Any]:
    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **customer}
    response = await gateway.http.post("/v1/orders", json=order_body(), headers=headers)
    order: dict[str, Any] = response.json()
    return order


async def pay(gateway: Gateway, customer: dict[str, str]) -> str:
    order = await place(gateway, customer)
    [item] = order["items"]
    deadline = Timestamp()
    deadline.FromDatetime(datetime(2030, 1, 1, tzinfo=UTC))
    line = PricedLine(product_id=item["product_id"], quantity=item["quantity"], unit_price=TOTAL // item["quantity"])
    pending = pb.MarkPendingRequest(
        order_id=order["id"],
        cause_id="pending",
        lines=[line],
        total=TOTAL,
        payment_id=new_id(),
        payment_deadline=deadline,
    )
    await call(gateway.services.order.MarkPending, pending, caller=SERVICE, deadline=5)
    paid = pb.MarkClosedRequest(order_id=order["id"], cause_id="closed", status=pb.ORDER_STATUS_PAID)
    await call(gateway.services.order.MarkClosed, paid, caller=SERVICE, deadline=5)
    return str(order["id"])


async def refund(gateway: Gateway, order_id: str, amount: int) -> pb.OrderStatus.ValueType:
    request = pb.MarkRefundedRequest(order_id=order_id, refund_id=new_id(), amount=amount, succeeded=True, version=1)
    return (await call(gateway.services.order.MarkRefunded, request, caller=SERVICE, deadline=5)).status


async def test_an_order_says_how_much_was_refunded(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    order_id = await pay(gateway, customer)

    seen = []
    for amount in (500, TOTAL - 500):
        await refund(gateway, order_id, amount)
        order = (await gateway.http.get(f"/v1/orders/{order_id}", headers=customer)).json()
        seen.append((order["status"], order["reason"], order["refunded"], order["total"]))

    assert seen == [("PARTIALLY_REFUNDED", None, 500, TOTAL), ("REFUNDED", None, TOTAL, TOTAL)]
    assert [(step["from"], step["to"]) for step in order["transitions"][3:]] == [
        ("PAID", "PARTIALLY_REFUNDED"),
        ("PARTIALLY_REFUNDED", "REFUNDED"),
    ]


async def test_a_list_tells_paid_and_refunded_orders_apart(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    paid, part, whole = [await pay(gateway, customer) for _ in range(3)]
    await refund(gateway, part, 1)
    await refund(gateway, whole, TOTAL)

    listed = {}
    for status in ("PAID", "PARTIALLY_REFUNDED", "REFUNDED"):
        page = await gateway.http.get("/v1/orders", params={"status": status}, headers=customer)
        listed[status] = [(order["id"], order["refunded"]) for order in page.json()["items"]]

    assert listed == {"PAID": [(paid, 0)], "PARTIALLY_REFUNDED": [(part, 1)], "REFUNDED": [(whole, TOTAL)]}


@pytest.mark.parametrize("amount", [500, TOTAL])
async def test_a_refunded_order_is_not_cancellable(gateway: Gateway, amount: int) -> None:
    _, customer = await sign_up(gateway)
    order_id = await pay(gateway, customer)
    await refund(gateway, order_id, amount)

    headers = {"Idempotency-Key": new_id(), **customer}
    response = await gateway.http.post(f"/v1/orders/{order_id}/cancel", json={}, headers=headers)

    assert (response.status_code, response.json()["type"]) == (409, "urn:ordersaga:problem:order-not-cancellable")


async def test_an_update_of_a_refund_of_an_open_order_comes_too_early(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    order = await place(gateway, customer)

    with pytest.raises(ServiceUnavailable, match="still RECEIVED"):
        await refund(gateway, order["id"], 1)


async def test_every_violation_of_an_update_of_a_refund_is_named_at_once(gateway: Gateway) -> None:
    request = pb.MarkRefundedRequest(order_id="1", refund_id="2", amount=0, version=-1)

    with pytest.raises(CallRefused) as caught:
        await call(gateway.services.order.MarkRefunded, request, caller=SERVICE, deadline=5)

    assert set(caught.value.details) == {"order_id", "refund_id", "amount", "version"}
