"""While there is more to do than can be done, new orders are told when to come again; all else is served as ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import CancelledBy
from domain.saga import OrderInput
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.loop_lag import LoopLag
from runtime.refusal import Shed
from services.payment.payments.model import Payment
from services.payment.payments.service import PaymentService
from tests.support.gateway import Gateway, gateway_with_services, order_body
from tests.support.identities import bearer
from tests.support.rpc import call

LATE = 60.0
LOOKS = 5


@pytest_asyncio.fixture(scope="module")
async def running(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Gateway) -> Iterator[Gateway]:
    yield running
    note(running, 0)
    running.sagas.on_start = running.sagas.on_cancel = None


def note(gateway: Gateway, late: float) -> None:
    """Let the order service's process be so late for a while, or in time again."""
    assert gateway.orders is not None
    lag: LoopLag = gateway.orders.loop_lag
    for _ in range(LOOKS):
        lag.note(late)


async def place(gateway: Gateway, body: dict[str, Any], headers: dict[str, str], key: str) -> httpx.Response:
    return await gateway.http.post(
        "/v1/orders", json=body, headers={"Idempotency-Key": key, "Prefer": "wait=10", **headers}
    )


async def close(gateway: Gateway, order_id: str, status: pb.OrderStatus.ValueType, reason: str) -> None:
    request = pb.MarkClosedRequest(order_id=order_id, cause_id=f"close-{status}", status=status, reason=reason)
    await call(gateway.services.order.MarkClosed, request, caller=SERVICE, deadline=5)


async def test_a_new_order_is_told_when_to_come_again_and_is_taken_then_with_the_same_key(gateway: Gateway) -> None:
    async def fail(order: OrderInput) -> None:
        await close(gateway, order.order_id, pb.ORDER_STATUS_FAILED, "OUT_OF_STOCK")

    gateway.sagas.on_start = fail
    customer, body, key = bearer(CallerRole.CUSTOMER, new_id()), order_body(), new_id()
    note(gateway, LATE)

    turned_away = await place(gateway, body, customer, key)

    problem = turned_away.json()
    assert (turned_away.status_code, problem["type"]) == (503, "urn:ordersaga:problem:busy")
    assert turned_away.headers["Retry-After"] in {"1", "2", "3"}
    assert f"in {turned_away.headers['Retry-After']} s" in problem["detail"]
    note(gateway, 0)
    assert "Idempotency-Replayed" not in (taken := await place(gateway, body, customer, key)).headers
    assert taken.status_code == 201


async def test_who_is_turned_away_at_the_second_step_is_not_told_that_nothing_was_begun(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def turn_away(_: PaymentService, order_id: str, *, caller: Caller) -> Payment:
        raise Shed("too many callers", why="full_line")

    customer = bearer(CallerRole.CUSTOMER, new_id())
    order_id = (await place(gateway, order_body(), {**customer, "Prefer": "wait=0"}, new_id())).json()["id"]
    monkeypatch.setattr(PaymentService, "get_of_order", turn_away)

    read = await gateway.http.get(f"/v1/orders/{order_id}/refunds", headers=customer)

    assert (read.status_code, read.json()["type"]) == (503, "urn:ordersaga:problem:service-unavailable")


async def test_what_was_accepted_is_answered_read_listed_and_cancelled(gateway: Gateway) -> None:
    async def cancel(order_id: str, _: CancelledBy) -> None:
        await close(gateway, order_id, pb.ORDER_STATUS_CANCELLED, "CUSTOMER")

    gateway.sagas.on_cancel = cancel
    customer, body, key = bearer(CallerRole.CUSTOMER, new_id()), order_body(), new_id()
    at_once = {**customer, "Prefer": "wait=0"}
    order_id = (await place(gateway, body, at_once, key)).json()["id"]
    note(gateway, LATE)

    again = await place(gateway, body, at_once, key)
    read = await gateway.http.get(f"/v1/orders/{order_id}", headers=customer)
    listed = await gateway.http.get("/v1/orders", headers=customer)
    cancelled = await gateway.http.post(
        f"/v1/orders/{order_id}/cancel",
        json={},
        headers={"Idempotency-Key": new_id(), "Prefer": "wait=10", **customer},
    )

    assert (again.status_code, again.json()["id"], again.headers["Idempotency-Replayed"]) == (202, order_id, "true")
    assert (read.status_code, listed.status_code) == (200, 200)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
